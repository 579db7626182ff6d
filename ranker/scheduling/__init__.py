"""Scheduling: who begins when, who is let in, and what is merged into one call. Knows neither rows nor HTTP."""
