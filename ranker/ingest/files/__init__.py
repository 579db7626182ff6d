"""File formats that features are loaded from, one module each, as batches of rows."""
