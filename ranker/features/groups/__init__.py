"""Groups of a schema: rows under keys that a request, or the features found for it, make up."""
