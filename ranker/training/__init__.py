"""Python API for the person who trains: stored models offline, stored features and the feature log as frames."""
