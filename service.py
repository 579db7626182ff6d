"""Service: what `bentoml serve` and `bentoml build` find in this folder. `ranker.service` has it."""

from ranker.service import Ranker, Runner

__all__ = ["Ranker", "Runner"]
