"""What is asked for by people and by Prometheus: pages, the OpenAPI document, a scrape of the metrics."""
