"""Rank a user's candidate products: features from Redis, scores from an ONNX model.

The package reads in the order the data moves: `api` → `store` → `cache` → `assembler` → `model` → `ranking`, put
together by `pipeline`. `service.py` beside this package is the BentoML shell round it.
"""

__version__ = "0.1.0"
