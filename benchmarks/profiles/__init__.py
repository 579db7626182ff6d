"""Profiles: models of four sizes and kinds, with the features that they rank by; seeded, the same in every run."""
