"""Shadow model: ranks a sample of the requests again, to be compared with the first, while no caller waits.

Owns what is sampled, what is dropped, and what becomes of failures: they are counted, logged once a minute, and never
raised to anybody. Knows nothing of how either model ranks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from ranker.api.predict import PredictRequest
from ranker.errors import RankerError, StoreUnavailable
from ranker.process.log_limit import Seldom
from ranker.ranking.agreement import TOP_K, rank_correlation, top_k_overlap
from ranker.ranking.answer import Answer
from ranker.ranking.job import Budget
from ranker.serving.variant import Variant
from ranker.telemetry.metrics import Recorder
from ranker.telemetry.metrics.sources import Sources
from ranker.vectors.rows import Scores

logger = logging.getLogger("ranker.shadow")

QUEUE = 64
"""Requests that wait at most: with 100 products each, some 2 MB."""
ALLOWED_S = 10.0
"""Seconds one comparison may take; nobody waits for it."""
REST = 1.0
"""Rest after a comparison, as a multiple of the seconds that it held: at most half of a core is the shadow's own."""
REPORT_INTERVAL_S = 60.0


class _Sampled(NamedTuple):
    request: PredictRequest
    scores: Scores


class DroppedNotes:
    """Notes of a shadow's reads and calls, dropped (a null object): what it does is nobody's request.

    Attributes:
        sources: Written by nobody.
    """

    def __init__(self) -> None:
        self.sources = Sources()

    def context_default(self, feature: str, reason: str, count: int) -> None: ...
    def context_rounded(self, feature: str, count: int) -> None: ...
    def merged_fetch(self, requests: int, rows: int) -> None: ...
    def merged_score(self, requests: int, rows: int) -> None: ...
    def prepared(self, seconds: float, rows: int) -> None: ...


class Shadow:
    """Ranks a sample again, one request at a time.

    Args:
        variant: The shadow model; its policy is to raise.
        percent: The share of requests to compare, 0 to 100.
        recorder: Told of outcomes.
        crowded: Whether callers' requests need all there is; the shadow rests meanwhile.
    """

    def __init__(self, variant: Variant, percent: float, recorder: Recorder, crowded: Callable[[], bool]) -> None:
        self._variant = variant
        self._share = percent / 100
        self._recorder = recorder
        self._crowded = crowded
        self._queue: asyncio.Queue[_Sampled] = asyncio.Queue(QUEUE)
        self._reports = Seldom(REPORT_INTERVAL_S)

    def offer(self, request: PredictRequest, answer: Answer) -> None:
        """Take a request that the model has ranked, if it is sampled and there is room; degraded ones are passed by."""
        if answer.degraded_reason is not None or random.random() >= self._share:
            return
        try:
            self._queue.put_nowait(_Sampled(request, answer.row_scores))
        except asyncio.QueueFull:
            self._recorder.shadow("dropped")

    async def run(self) -> None:
        """Compare what is sampled, for ever."""
        with suppress(StoreUnavailable):  # said when something is to be compared
            await self._variant.store.open()
        while True:
            sampled = await self._queue.get()
            await _until(lambda: not self._crowded())
            began = monotonic()
            try:
                await self._compare(sampled)
            except Exception as err:  # whatever it is, callers must not notice
                self._failed(err)
            await asyncio.sleep(REST * min(monotonic() - began, 1.0))

    async def close(self) -> None:
        """Let go of Redis."""
        await self._variant.close()

    async def _compare(self, sampled: _Sampled) -> None:
        answer = await self._variant.rank(sampled.request, Budget(monotonic(), ALLOWED_S))
        self._recorder.shadow("compared")
        self._recorder.agreement(
            rank_correlation(sampled.scores, answer.row_scores),
            top_k_overlap(sampled.scores, answer.row_scores, sampled.request.topK or TOP_K),
        )

    def _failed(self, err: Exception) -> None:
        self._recorder.shadow("failed")
        if not self._reports.due():
            return
        unforeseen = None if isinstance(err, RankerError) else err
        logger.warning(
            "The shadow %s could not rank a request: %s More in the next %g s are only counted.",
            self._variant.tag,
            err,
            REPORT_INTERVAL_S,
            exc_info=unforeseen,
        )


async def _until(holds: Callable[[], bool], poll_s: float = 0.05) -> None:
    while not holds():  # noqa: ASYNC110  # what is waited for sets no event
        await asyncio.sleep(poll_s)
