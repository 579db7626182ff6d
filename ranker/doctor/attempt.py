"""Bounded attempt: runs one check within its time, and words a finding when it is refused, fails or hangs.

Knows nothing of what is checked. Texts never hold a URL or a password: of foreign
errors only those whose wording is known to be safe are shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import NoPermissionError, RedisError

from ranker.errors import RankerError
from ranker.redis.remedies import AWAY, find_remedy
from ranker.upkeep.finding import Finding, fail, warn

T = TypeVar("T")


class Unfinished(Exception):
    """A check did not end within its bound."""


def bounded(call: Callable[[], T], limit_s: float) -> T:
    """Return what the call returns or raise what it raises, after `limit_s` seconds at the latest.

    It runs in a thread that is left behind when it hangs, for neither a name server nor a native library can be
    interrupted; the process can end all the same.

    Raises:
        Unfinished: the bound passed.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as err:
            failures.append(err)

    thread = threading.Thread(target=run, name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise Unfinished
    if failures:
        raise failures[0]
    return results[0]


def attempt(check: str, call: Callable[[], list[Finding]], limit_s: float) -> list[Finding]:
    """Return a check's findings; one that is refused, fails or hangs is itself a finding, never a crash."""
    try:
        return bounded(call, limit_s)
    except Unfinished:
        return [fail(check, f"no result in {limit_s:g} s", "See what hangs there: Redis, the name server or the disk.")]
    except (RankerError, RedisError, OSError) as err:
        return [trouble(check, err)]
    except Exception as err:
        # Its message is not shown, for nobody knows what is in it.
        return [
            fail(check, f"the check itself failed ({type(err).__name__})", "Report this as a bug of `ranker doctor`.")
        ]


def trouble(check: str, err: Exception) -> Finding:
    """Say what an error means and what to do about it."""
    cause = err.__cause__ if isinstance(err, RankerError) and err.__cause__ is not None else err
    message = one_line(str(err) or type(err).__name__)
    if isinstance(cause, NoPermissionError):
        return warn(
            check, f"not permitted: {message}", "Give the doctor a user that may (ACL SETUSER), or look yourself."
        )
    return fail(check, message, find_remedy(cause) or AWAY)


def one_line(text: str) -> str:
    """Return the text on one line, without the full stop at its end."""
    return " ".join(text.split()).removesuffix(".")
