"""CPU affinity: threads that help another one run on other cores than it does.

Linux may wake a sleeping thread on the core of the one that wakes it while another core sleeps, too: seen with two
cores that had slept for 2 ms. Both threads together then take as long as one would alone. Owns where helping threads
may run; knows nothing of what they do.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading


class OtherCores:
    """Keeps helping threads off the core of whoever asks for their help; does nothing but on Linux."""

    def __init__(self) -> None:
        self._helpers: list[int] = []
        self._kept_off: int | None = None
        """Core that they are kept off."""
        self._getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
        self._allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()

    def add_helper(self) -> None:
        """Count the calling thread among the helpers."""
        self._helpers.append(threading.get_native_id())
        self._kept_off = None

    def keep_off(self) -> None:
        """Keep the helpers off the core that the calling thread is on, from the next time they are woken."""
        if self._getcpu is None or (core := self._getcpu()) == self._kept_off:
            return
        others = self._allowed - {core}
        if not others:
            return
        try:
            for helper in self._helpers:
                os.sched_setaffinity(helper, others)
        except OSError:  # a sandbox forbids it, or these cores were taken away
            self._getcpu = None
        else:
            self._kept_off = core
