"""Ingest: files → stored vectors, as `ranker features load` and the FeatureWriter do it."""
