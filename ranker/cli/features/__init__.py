"""`ranker features`: the commands that load, look at, verify and migrate what the service reads from Redis."""
