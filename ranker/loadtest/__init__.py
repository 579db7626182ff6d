"""Load tests of a served ranker: what is asked, an open-loop generator, and the verdict on what came of it."""
