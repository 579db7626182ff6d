"""What `ranker doctor` knows: whether a service would start and serve well here."""
