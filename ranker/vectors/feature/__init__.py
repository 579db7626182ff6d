"""Feature: one named value of a user, a product or a request; its type, and the float32 columns it takes."""

from __future__ import annotations

from ranker.vectors.feature.absent import WhenAbsent
from ranker.vectors.feature.description import MAX_WIDTH, ContextFeature, Feature, ProductContextFeature
from ranker.vectors.rounding import LARGEST

__all__ = ["LARGEST", "MAX_WIDTH", "ContextFeature", "Feature", "ProductContextFeature", "WhenAbsent"]
