"""Load tests of a served ranker: seeded bodies, an open-loop generator, and the verdict on what came of it."""
