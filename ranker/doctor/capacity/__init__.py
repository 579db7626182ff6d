"""Capacity planning: what a request costs on this machine, and what a rate of requests therefore needs."""
