"""Connections: uvicorn's protocol with bounds, and refusals before anything is parsed."""
