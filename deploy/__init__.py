"""What Ranker is deployed with; nothing of it is imported by the service."""
