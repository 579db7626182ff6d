"""Reporting: tables and plots from the measured JSON."""
