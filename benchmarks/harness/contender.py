"""Contenders: how each is started, and which store it reads.

One API worker process each, but for what `sweeps` starts with one for each core.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.profiles.layout import LAYOUTS

Store = Literal["binary", "json", "large"]

PYTHON = (sys.executable, "-m")
UVICORN = (*PYTHON, "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
WHOLE = "-whole"
"""Behind the name of a contender of this project whose model is not split."""
BENTOML = (*PYTHON, "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Contender:
    """One design that is compared.

    Attributes:
        name: As in the results.
        command: Starts it; `{port}` stands for the port.
        ready: Answers 200 once it is ready; a benchmark request itself is asked when this is empty.
        settings: Environment variables of its own.
        store: Which Redis database it reads.
        delayed: Whether it reaches Redis through the delaying proxy.
        profiles: What it is measured with.
        whole: Whether its model is imported without being split; of this project's only.
    """

    name: str
    command: tuple[str, ...]
    ready: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    store: Store = "binary"
    delayed: bool = False
    profiles: Sequence[str] = tuple(LAYOUTS)
    whole: bool = False

    @property
    def is_ranker(self) -> bool:
        return self.ready == "/readyz"

    def varied(self, *, store: Store = "binary", delayed: bool = False, **settings: str) -> Contender:
        """Return the same contender otherwise set up, for a sweep."""
        return replace(self, settings={**self.settings, **settings}, store=store, delayed=delayed)


def ranker(runner: str, *, whole: bool = False) -> Contender:
    """Return this project, with the runner where it says, and the model split or whole."""
    settings = {"RANKER_RUNNER": runner, "RANKER_WORKERS": "1", "RANKER_DRAIN_S": "0"}
    name = f"ranker-{runner}{WHOLE if whole else ''}"
    return Contender(name, (*BENTOML, "service:Ranker"), "/readyz", settings, whole=whole)


CONTENDERS = {
    contender.name: contender
    for contender in (
        # Logs each request, as uvicorn does unless told otherwise.
        Contender(
            "usual",
            (*UVICORN, "benchmarks.contenders.usual:app"),
            store="json",
        ),
        Contender("fastapi-tuned", (*UVICORN, "--no-access-log", "benchmarks.contenders.fastapi_tuned:app")),
        Contender("bare-asgi", (*UVICORN, "--no-access-log", "benchmarks.contenders.bare_asgi:app")),
        # What everything but the scoring costs; where the scoring is most of a request, it is no limit.
        Contender("limit", (*PYTHON, "benchmarks.contenders.limit", "{port}"), profiles=("light",)),
        Contender("litserve", (*PYTHON, "benchmarks.contenders.litserve_batched", "{port}")),
        Contender(
            "bentoml-default",
            (*BENTOML, "benchmarks.contenders.bentoml_default:Ranking"),
            profiles=("light", "trees", "deep"),  # those of one matrix
        ),
        *(ranker(runner, whole=whole) for whole in (True, False) for runner in ("service", "local")),
    )
}
