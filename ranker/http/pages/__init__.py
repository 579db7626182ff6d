"""Pages for people and for Prometheus: HTML, the OpenAPI document, a scrape of the metrics."""
