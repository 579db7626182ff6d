"""Display of the command line: tables, progress, verdicts."""
