"""Open-loop generator: requests leave at a constant rate, whatever becomes of those before them.

Latency counts from the moment a request should have left, so neither a slow service nor a slow generator can hide
waiting. One thread, nothing but system calls and the parsing of answers, because it often shares the cores with what
it measures. What came of it goes to a `Recording`; must not know who looks at that.
"""

from __future__ import annotations

import select
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from ranker.loadtest.connection import Connection, ConnectionBroken
from ranker.loadtest.recording import Recording
from ranker.loadtest.target import Target

MAX_CONNECTIONS = 3000
"""Connections open at most: a request that finds none free is an error, and is not sent."""
DRAIN_S = 10.0
"""Time that answers may take after the last request has left."""
LEAD_S = 0.01
PART_S = 1.0
"""Interval at which the recording is passed on."""
Part = dict[str, Any]


class Generator:
    """Sends the bodies in turn to one service.

    Args:
        target: Where.
        bodies: What.
        rate: Requests a second.
        pass_on: Called each second, and at the end, with what was recorded since the last time.
    """

    def __init__(
        self, target: Target, bodies: Sequence[bytes], rate: float, pass_on: Callable[[Part], None] | None = None
    ) -> None:
        self._requests = [target.request(body) for body in bodies]
        self._address, self._context, self._host = target.address(), target.tls_context(), target.host
        self._rate = rate
        self._pass_on = pass_on
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._free: deque[Connection] = deque()
        self._in_flight = 0
        self.answers = 0
        self.retried = 0
        self.recording = Recording()

    def run(self, seconds: float) -> None:
        """Send for so long, then wait for what is missing."""
        total = int(seconds * self._rate)
        start = time.perf_counter() + LEAD_S
        stop = start + seconds + DRAIN_S
        self.recording = Recording()
        due = start + PART_S
        sent = 0
        now = time.perf_counter()
        while sent < total or self._in_flight:
            while sent < total and (intended := start + sent / self._rate) <= now:
                self.recording.lateness_s.append(now - intended)
                self._send(self._requests[sent % len(self._requests)], intended)
                sent += 1
                now = time.perf_counter()
            wait = start + sent / self._rate - now if sent < total else stop - now
            if wait < 0 and sent == total:
                self._give_up(now)
                break
            # epoll itself waits in whole milliseconds; select on it does in microseconds.
            select.select([self._selector.fileno()], [], [], min(max(wait, 0.0), PART_S))
            for key, _ in self._selector.select(0):
                connection = cast(Connection, key.fileobj)
                if connection in self._connections:  # not hung up since
                    self._on_event(connection)
            now = time.perf_counter()
            if now >= due:
                self._report()
                due = now + PART_S
        self._report()

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._selector.close()

    def _send(self, request: bytes, intended: float) -> None:
        while (connection := self._free.pop() if self._free else self._connect()) is not None:
            before = connection.interest
            try:
                connection.begin(request, intended)
            except ConnectionBroken:  # closed while it was idle; a new one does not get as far as to break here
                self._hang_up(connection)
                self.retried += 1
                continue
            self._in_flight += 1
            self._watch(connection, before)
            return
        self.recording.errors["not sent"] += 1

    def _connect(self) -> Connection | None:
        if len(self._connections) >= MAX_CONNECTIONS:
            return None
        try:
            connection = Connection(self._address, self._context, self._host)
        except OSError:  # no more descriptors or ports
            return None
        self._connections.add(connection)
        self._selector.register(connection, connection.interest)
        return connection

    def _on_event(self, connection: Connection) -> None:
        if not connection.busy:  # the service hangs up, or speaks unasked
            self._free.remove(connection)
            self._hang_up(connection)
            return
        before = connection.interest
        try:
            complete = connection.proceed()
        except ConnectionBroken:
            self._drop(connection)
            return
        if complete:
            self._answered(connection)
        else:
            self._watch(connection, before)

    def _watch(self, connection: Connection, before: int) -> None:
        if connection.interest != before:
            self._selector.modify(connection, connection.interest)

    def _answered(self, connection: Connection) -> None:
        latency_s = time.perf_counter() - connection.intended
        self.recording.answered(latency_s, connection.status, connection.body)
        self.answers += 1
        self._in_flight -= 1
        connection.end()
        if connection.reusable:
            self._free.append(connection)
        else:
            self._hang_up(connection)

    def _drop(self, connection: Connection) -> None:
        """Give up a connection; what is on it is an error unless the service had closed it while it was idle."""
        self._hang_up(connection)
        self._in_flight -= 1
        if connection.answered and not connection.started_answering:
            self.retried += 1
            self._send(connection.request, connection.intended)
        else:
            self.recording.errors["connection"] += 1

    def _hang_up(self, connection: Connection) -> None:
        self._selector.unregister(connection)
        self._connections.discard(connection)
        connection.close()

    def _give_up(self, now: float) -> None:
        for connection in self._connections:
            if connection.busy:
                self.recording.unanswered(now - connection.intended)

    def _report(self) -> None:
        if self._pass_on is not None:
            self._pass_on(self.recording.drain() | {"in_flight": self._in_flight})
