"""Generator process: runs the generator apart and collects what it passes on, second by second.

Apart, because showing the figures meanwhile must not hold up the sends.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Generator as Yielding
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from ranker.loadtest.generator import MAX_CONNECTIONS, PART_S, Generator, Part
from ranker.loadtest.recording import Figures, Recording
from ranker.loadtest.target import Target
from ranker.process.descriptors import raise_limit

SPARE_DESCRIPTORS = 100


@dataclass(slots=True)
class Run:
    """Figures of a run so far.

    Attributes:
        whole: Everything recorded.
        seconds: The figures of each second.
        in_flight: Requests that await an answer.
        lasted_s: How long it has run.
    """

    whole: Recording = field(default_factory=Recording)
    seconds: list[Figures] = field(default_factory=list)
    in_flight: int = 0
    lasted_s: float = 0.0

    def add(self, part: Part) -> None:
        """Take in a part."""
        self.whole.extend(part)
        if part["wall_s"] >= PART_S / 2 or not self.seconds:  # the rest of a run is no second
            second = Recording()
            second.extend(part)
            self.seconds.append(second.figures(part["wall_s"]))
        self.in_flight = part["in_flight"]
        self.lasted_s += part["wall_s"]

    def figures(self) -> Figures:
        """Return the figures of all of it."""
        return self.whole.figures(self.lasted_s)


def load(target: Target, bodies: Sequence[bytes], rate: float, seconds: float) -> Yielding[Run]:
    """Send so many requests a second for so long; yield what has come of it, each second and at the end.

    Closing the iterator ends the generator.

    Raises:
        TargetUnreachable: the host has no address.
    """
    target.address()  # here, where the error is seen
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks, and all this process' memory
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_generate, args=(sender, target, bodies, rate, seconds), daemon=True)
    process.start()
    sender.close()
    run = Run()
    try:
        with receiver, suppress(EOFError):
            while True:
                run.add(receiver.recv())
                yield run
        process.join()
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    if process.exitcode:
        raise RuntimeError(f"The generator ended with {process.exitcode}.")


def _generate(sender: Connection, target: Target, bodies: Sequence[bytes], rate: float, seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    raise_limit(MAX_CONNECTIONS + SPARE_DESCRIPTORS)
    generator = Generator(target, bodies, rate, sender.send)
    gc.disable()  # a run of minutes makes no cycles, and a pause would be taken for the service's
    try:
        generator.run(seconds)
    finally:
        generator.close()
