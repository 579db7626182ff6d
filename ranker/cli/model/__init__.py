"""`ranker model`: the commands that store, show, compare and remove models, one module each."""
