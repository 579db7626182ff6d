"""Rollout: the models that a worker serves at a time, and which of them rank which requests.

One as a rule; while a new model is rolled out, also a canary for a part of the users, and a shadow that ranks a sample
again. Owns that choice. Knows nothing of how any of them ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ranker.api.predict import PredictRequest
from ranker.ranking.job import Policy
from ranker.scheduling.sampling import Split
from ranker.serving.shadow import DroppedNotes, Shadow
from ranker.serving.variant import ServedModel, Variant
from ranker.settings.environment import Settings
from ranker.telemetry.metrics import Recorder


class Models(NamedTuple):
    """Models of a worker.

    Attributes:
        main: What ranks.
        canary: What ranks for the canary's part of the users.
        shadow: What ranks a sample again.
    """

    main: ServedModel
    canary: ServedModel | None = None
    shadow: ServedModel | None = None


class Rollout:
    """Chooses among the variants of one worker.

    Args:
        models: What is served.
        settings: As read from the environment.
        policy: What answers do without; a shadow's raise.
        recorder: Told which models there are, and what waits before each hop.
        crowded: Whether callers' requests need all there is; the shadow rests meanwhile.

    Attributes:
        main: Ranks by default.
        ranking: The variants that callers wait for.
        shadow: Ranks a sample again; None for none.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        policy: Policy,
        recorder: Recorder,
        crowded: Callable[[], bool],
    ) -> None:
        self.main = Variant(models.main, settings, policy, recorder)
        self._canary: Variant | None = None
        self.shadow: Shadow | None = None
        if models.canary is not None:
            self._canary = Variant(models.canary, settings, policy, recorder)
            self._split = Split(models.canary.tag, settings.canary_percent)
        if models.shadow is not None:
            raises = Policy(on_failure="error")
            variant = Variant(models.shadow, settings, raises, DroppedNotes(), connections=1, background=True)
            self.shadow = Shadow(variant, settings.shadow_percent, recorder, crowded)
        self.ranking = (self.main,) if self._canary is None else (self.main, self._canary)
        for served in models:
            if served is not None:
                recorder.model(served.tag, served.schema.fingerprint, settings.runner)
        for variant in self.ranking:
            recorder.sources.watch_waiting(variant.waiting)

    def variant_for(self, request: PredictRequest) -> Variant:
        """Return what ranks for a request's user, or, where it is nobody's, for the request."""
        if self._canary is not None and self._split.takes(request.userId or request.requestId):
            return self._canary
        return self.main

    async def close(self) -> None:
        """Cancel what is in progress, and let go of Redis."""
        for part in (*self.ranking, self.shadow):
            if part is not None:
                await part.close()
