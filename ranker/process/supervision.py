"""Supervision of processes, beside BentoML's: acts when one of the service dies or all are told to end.

BentoML looks for dead processes every ten seconds, and in a container does not replace them as long as one of a kind is
left: capacity shrinks, and nobody is told. Here a thread of the supervisor looks twice a second. Outside a container a
dead process is replaced at once; in one, where an orchestrator replaces whole containers, the supervisor ends with an
error. And once told to end, it refuses connections when the workers no longer take them, instead of letting them queue.

BentoML keeps its arbiter (circus) to itself; it is found behind the handler of SIGTERM, which circus installs.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ranker.process.log_limit import Seldom
from ranker.process.shutdown import PARENT
from ranker.process.signals import Signals

logger = logging.getLogger("ranker.supervision")

LOOK_S = 0.5
RESPAWN_S = 5.0
"""Seconds between two replacements ahead of BentoML's own, so that what cannot start is not started without end."""
OWN_SERVICES = {"ranker", "ranker_runner"}
"""Names of services whose workers end in a known time; beside them may be another's, which Ranker is a part of."""
API_SOCKET = "_bento_api_server"
METRICS = "PROMETHEUS_MULTIPROC_DIR"
REPORT_INTERVAL_S = 60.0


class Supervision(threading.Thread):
    """Looks after the processes of the service.

    Args:
        merge_dead: Given the folder of metrics and the ids of the living, does away with the metrics of all others.
        in_container: Whether something outside restarts what ends with an error.
        drain_s: How long workers that were told to end take connections.
        stop_s: When workers that were told to end, and have not, are killed: theirs is sooner, unless they stand still.
    """

    def __init__(
        self,
        merge_dead: Callable[[Path, Collection[int]], None],
        *,
        in_container: bool,
        drain_s: float,
        stop_s: float,
    ) -> None:
        super().__init__(name="supervision", daemon=True)
        self._merge_dead = merge_dead
        self._in_container = in_container
        self._drain_s = drain_s
        self._stop_s = stop_s
        # Without that process the service ends.
        self._parent = int(os.environ[PARENT]) if PARENT in os.environ else None
        self._respawned = -RESPAWN_S
        self._failures = Seldom(REPORT_INTERVAL_S)

    def run(self) -> None:
        """Look until the service is told to end."""
        while (arbiter := _arbiter()) is None:
            time.sleep(LOOK_S)
            self._follow_parent()
        arbiter.loop.add_callback(Signals(arbiter).install)
        for watcher in arbiter.watchers:
            if OWN_SERVICES & {*(watcher.args or ())}:
                watcher.graceful_timeout = self._stop_s  # BentoML's is a day
        processes = Processes()
        while not arbiter._stopping:
            time.sleep(LOOK_S)
            self._follow_parent()
            try:
                self._look(arbiter, processes)
            except Exception:
                if self._failures.due():
                    logger.exception("A look at the processes failed; there will be others")
        if self._drain_s:
            logger.warning(
                "Told to end: requests are taken for %g s more (RANKER_DRAIN_S), so that balancers can turn away, and "
                "then what is under way is answered; Ctrl-C ends it at once",
                self._drain_s,
            )
        time.sleep(self._drain_s)
        _refuse_connections(arbiter)

    def _follow_parent(self) -> None:
        """End with the parent; one that was killed told nobody."""
        if self._parent is not None and os.getppid() != self._parent:
            logger.error("What started the service is gone; the service ends")
            self._parent = None
            os.kill(os.getpid(), signal.SIGTERM)

    def _look(self, arbiter: Any, processes: Processes) -> None:
        for watcher, process in processes.find_ended(arbiter.watchers):
            self._died(arbiter, watcher, process)
        # Or their gauges would count for ever, and their files slow down every scrape.
        for folder in {watcher.env[METRICS] for watcher in arbiter.watchers if METRICS in (watcher.env or ())}:
            self._merge_dead(Path(folder), processes.living)

    def _died(self, arbiter: Any, watcher: Any, process: Any) -> None:
        if arbiter._stopping:
            return
        what = f"Process {process.pid} ({watcher.name})"
        if self._in_container:
            logger.error("%s died; the container ends, to be restarted", what)
            arbiter._exception = SystemExit(f"{what} died.")
            arbiter.loop.add_callback(arbiter.stop)
        elif time.monotonic() - self._respawned >= RESPAWN_S:
            logger.error("%s died; it is replaced", what)
            self._respawned = time.monotonic()
            arbiter.loop.add_callback(arbiter.manage_watchers)


def _arbiter() -> Any:
    """Return BentoML's arbiter, once it runs."""
    handler: Any = signal.getsignal(signal.SIGTERM)
    arbiter = getattr(getattr(getattr(handler, "__self__", None), "controller", None), "arbiter", None)
    return arbiter if getattr(arbiter, "running", False) else None


class Processes:
    """Knows which processes there were, for BentoML's own look may find a dead one first and take it off its list."""

    def __init__(self) -> None:
        self._living: dict[int, tuple[Any, Any]] = {}

    @property
    def living(self) -> Collection[int]:
        """The ids of those that were alive when `find_ended` last looked."""
        return self._living.keys()

    def find_ended(self, watchers: Iterable[Any]) -> list[tuple[Any, Any]]:
        """Return the processes that ended without being told to, each with its watcher: again while it is listed."""
        from circus.process import DEAD_OR_ZOMBIE, UNEXISTING

        listed = {
            process.pid: (watcher, process) for watcher in watchers for process in list(watcher.processes.values())
        }
        dead = {pid for pid, (_, process) in listed.items() if process.status in (DEAD_OR_ZOMBIE, UNEXISTING)}
        ended = [listed[pid] for pid in sorted(dead)]
        ended += [self._living[pid] for pid in sorted(self._living.keys() - listed.keys())]
        self._living = {pid: found for pid, found in listed.items() if pid not in dead}
        return [(watcher, process) for watcher, process in ended if not process.stopping]


def _refuse_connections(arbiter: Any) -> None:
    """Stop listening in all processes at once, for they share the socket."""
    with suppress(OSError, KeyError):
        arbiter.sockets[API_SOCKET].shutdown(socket.SHUT_RDWR)
