"""Split: a ranking model in three parts: what the request gives, what the product gives, and what only the pair can."""
