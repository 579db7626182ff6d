"""Entry of the command line, as `ranker` and as `python -m ranker`: Ctrl-C ends it without a traceback from here on.

Owns what Ctrl-C does while there is no command yet, or none any more, that could answer it, and what stands in for a
stream that is closed.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line; while its modules load, and when it is done, Ctrl-C ends the process as a shell expects."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # not where it is ignored, as behind `nohup`
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # as behind `>&-`; and no socket may get its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end of the process
    from ranker.cli import main as command_line

    signal.signal(signal.SIGINT, handler)
    try:
        command_line(prog_name="ranker")
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
