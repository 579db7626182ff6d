"""Wire format: the JSON and the headers of a request and an answer. Knows no status, no Redis, no model."""
