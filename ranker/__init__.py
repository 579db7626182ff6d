"""Rank a user's candidate products: features from Redis, scores from an ONNX model.

The packages in the order a request moves: `http` (in the words of `api`) → `serving` → `ranking`, which is handed
`features` and `scoring`. Below them lie `redis`, `scheduling`, `telemetry`, `settings`, `process`, `vectors` and
`errors`; beside them the tools: `cli`, `doctor`, `loadtest`, `demo`, `ingest` and `upkeep`. `ranker.service`
is the BentoML shell round it all.

For programs that fill the store there are `FeatureWriter` and `AsyncFeatureWriter`.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ranker.ingest.writer import AsyncFeatureWriter, FeatureWriter

__all__ = ["AsyncFeatureWriter", "FeatureWriter", "__version__"]


def __getattr__(name: str) -> object:
    """Import the writers on first use: `import ranker` alone loads neither redis nor numpy."""
    if name in ("AsyncFeatureWriter", "FeatureWriter"):
        from ranker.ingest import writer

        return getattr(writer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
