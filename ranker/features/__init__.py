"""Filling, migrating and checking the feature store: what `ranker features` does. Knows nothing of serving."""
