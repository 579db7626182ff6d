"""Settings, `RANKER_*`: read once from the environment, checked all at once."""
