"""Harness: what starts contenders, loads them, and says on which machine and with which work that was."""
