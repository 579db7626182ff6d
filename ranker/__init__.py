"""Rank a user's candidate products: features from Redis, scores from an ONNX model.

The packages in the order a request moves: `http` (in the words of `api`) → `serving` → `ranking`, which is handed
`features` and `scoring`. Below them lie `redis`, `scheduling`, `telemetry`, `settings`, `process`, `vectors` and
`errors`; beside them the tools: `cli`, `doctor`, `loadtest`, `demo`, `ingest`, `upkeep` and `training`.
`ranker.service` is the BentoML shell round it all.

The public Python API, beside the service:

- for programs that fill the store, `FeatureWriter` and `AsyncFeatureWriter`; what lies there, `FeatureReader`;
- for the person who trains, `import_model`, `Model`, `read_feature_log` and the module `metrics`.
"""

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers know it: `typing` takes longer to load than all else before `ranker`'s main
if TYPE_CHECKING:
    from ranker import metrics
    from ranker.ingest.writer import AsyncFeatureWriter, FeatureWriter
    from ranker.training.importing import import_model
    from ranker.training.log import read_feature_log
    from ranker.training.model import Model, Ranking
    from ranker.training.reader import FeatureReader

__all__ = [
    "AsyncFeatureWriter",
    "FeatureReader",
    "FeatureWriter",
    "Model",
    "Ranking",
    "__version__",
    "import_model",
    "metrics",
    "read_feature_log",
]

_WHERE = {
    "AsyncFeatureWriter": "ranker.ingest.writer",
    "FeatureReader": "ranker.training.reader",
    "FeatureWriter": "ranker.ingest.writer",
    "Model": "ranker.training.model",
    "Ranking": "ranker.training.model",
    "import_model": "ranker.training.importing",
    "read_feature_log": "ranker.training.log",
}
"""Name → the module that has it."""


def __getattr__(name: str) -> object:
    """Import what is named on first use: `import ranker` alone loads neither redis, numpy nor bentoml."""
    if name == "metrics":
        return import_module("ranker.metrics")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name the public API, imported or not."""
    return sorted({*globals(), *__all__})
