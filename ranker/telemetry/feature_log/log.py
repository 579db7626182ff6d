"""Feature log of one API worker: which requests it takes, and a thread that writes them while nobody waits.

Owns the sample, the bound on what waits, and what becomes of failures: they are counted, logged once a minute, and
never raised to anybody. A request hands over references to arrays that nobody writes to any more, so nothing is copied.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from time import time
from typing import Protocol

from ranker.api.predict import PredictRequest
from ranker.errors import RankerError, StoreUnavailable
from ranker.process.background import Surprises
from ranker.process.log_limit import Seldom
from ranker.ranking.answer import Answer
from ranker.ranking.order import MissingProduct
from ranker.ranking.timings import Timings
from ranker.scheduling.sampling import Split
from ranker.telemetry.feature_log.record import Record, widths_of
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

logger = logging.getLogger("ranker.feature_log")

SALT = "feature-log"
QUEUE_BYTES = 32 << 20
"""Bound on what waits: half a second of 2,000 requests/s of 100 products and 64 + 64 features."""
INTERVAL_S = 0.1
"""Interval at which the thread looks for what waits. Waking it for each record would take more than to write it."""
CLOSE_S = 3.0
"""Seconds that a stop waits for what is not written yet."""
REPORT_INTERVAL_S = 60.0


class Sink(Protocol):
    """Destination of records.

    Attributes:
        written: How many are safe.
    """

    written: int

    def write(self, records: Sequence[Record]) -> None:
        """Take records, possibly none, and write what is due; raises whatever goes wrong."""

    def abandon(self) -> int:
        """Give up what was taken and is not safe; return how many records."""

    def close(self) -> None:
        """Write what was taken; raises whatever goes wrong."""


class FeatureLog:
    """Takes a sample of what is served, and has it written.

    Args:
        sink: Where records go; used by the thread alone.
        where: What the log's lines call it.
        percent: The share of requests to take, 0 to 100.
        schemas: Of the models that may rank, by tag.
        missing_product: What becomes of products without features.
        queue_bytes: How much may wait; what comes then is dropped.

    Attributes:
        dropped: Records that will never be written: the queue was full, or the sink failed.
    """

    def __init__(
        self,
        sink: Sink,
        where: str,
        percent: float,
        schemas: Mapping[str, FeatureSchema],
        missing_product: MissingProduct,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._sink = sink
        self._where = where
        self._split = Split(SALT, percent)
        self._schemas = {tag: (schema.fingerprint, widths_of(schema)) for tag, schema in schemas.items()}
        self._missing_product = missing_product
        self._queue_bytes = queue_bytes
        self._queue: deque[Record] = deque()
        # Each is written by one thread alone; their difference is what waits.
        self._taken_bytes = self._done_bytes = 0
        self._full = self._lost = 0
        self._reason = ""
        self._reported = 0
        self._reports = Seldom(REPORT_INTERVAL_S)
        self._surprises = Surprises("feature log")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feature-log", daemon=True)

    @property
    def written(self) -> int:
        """Records that are safe: sent to the stream, or in a file that is finished."""
        return self._sink.written

    @property
    def dropped(self) -> int:
        return self._full + self._lost

    @property
    def waiting_bytes(self) -> int:
        """About how much memory takes what waits."""
        return self._taken_bytes - self._done_bytes

    def takes(self, request: PredictRequest) -> bool:
        """Say whether a request is in the sample: by its ids alone, so that all who ask get the same answer."""
        return self._split.takes(f"{request.requestId}\0{request.userId or ''}")

    def offer(self, request: PredictRequest, model: str, answer: Answer, timings: Timings) -> None:
        """Take a request that was answered by a model just now, if it is sampled and there is room."""
        if not self.takes(request):
            return
        fingerprint, widths = self._schemas[model]
        features, call = answer.features, answer.call
        record = Record(
            time(),
            request.requestId,
            request.userId,
            model,
            fingerprint,
            request.productIds,
            None if request.topK is None else min(request.topK, len(request.productIds)),
            self._missing_product,
            _alone(answer.matrix),
            widths,
            int(features.user.statuses[0]),
            features.products.statuses,
            answer.row_scores,
            answer.ranking,
            answer.degraded_reason,
            features.held,
            None if call is None else call.requests,
            None if call is None else call.rows,
            timings,
        )
        size = record.size_bytes
        if self.waiting_bytes + size > self._queue_bytes:
            self._full += 1
            return
        self._taken_bytes += size
        self._queue.append(record)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def report(self) -> None:
        """Say what was dropped, once a minute."""
        dropped = self.dropped
        if dropped == self._reported or not self._reports.due():
            return
        reason = self._reason if self._lost else f"more than {self._queue_bytes >> 20} MiB waited"
        logger.warning(
            "The feature log dropped %d record(s): %s. More in the next %g s are only counted.",
            dropped - self._reported,
            reason,
            REPORT_INTERVAL_S,
        )
        self._reported = dropped

    async def close(self) -> None:
        """Write what waits, within `CLOSE_S`."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_S)
        if self._thread.is_alive():
            logger.warning("The feature log was not done within %g s; its last records are lost", CLOSE_S)

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            self._hand_over(last=False)
        self._hand_over(last=True)
        self.report()

    def _hand_over(self, *, last: bool) -> None:
        """Give the sink what waits, nothing too, for files are finished when they are old."""
        batch = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            self._sink.write(batch)
            if last:
                self._sink.close()
            self._surprises.over()
        except Exception as err:  # whatever it is, callers must not notice, and the thread must not die of it
            self._failed(err)
        self._done_bytes += sum(record.size_bytes for record in batch)

    def _failed(self, err: Exception) -> None:
        reason = err.reason if isinstance(err, StoreUnavailable) else err
        self._reason = f"{self._where}: {reason}".rstrip(".")
        if not isinstance(err, RankerError | OSError):
            self._surprises.note(err)
        try:
            self._lost += self._sink.abandon()
        except Exception as again:  # nobody knows how many are lost
            self._surprises.note(again)


def _alone(matrix: Matrix) -> Matrix:
    """Return a matrix that does not keep the rows of a whole round in memory while it waits."""
    block = matrix.base
    return matrix.copy() if block is not None and block.nbytes > 2 * matrix.nbytes else matrix
