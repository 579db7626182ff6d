"""How the command line shows things: tables, progress, verdicts."""
