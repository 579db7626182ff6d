"""Checks of `ranker doctor`: whether a service would start and serve well here."""
