"""Why a product stands where it does: a watched ranking, and what each feature adds to the score."""
