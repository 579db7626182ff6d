"""Endpoints: the ways in for rankings and explanations, from a body to its response.

Most rankings come over the lane, the others and all explanations through the app; callers in this process, and services
that depend on this one, have ways of their own.
"""
