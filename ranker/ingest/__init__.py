"""Files → stored vectors: what `ranker features load` and the FeatureWriter do."""
