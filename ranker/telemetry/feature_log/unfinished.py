"""Unfinished log files: hidden names that say until when, and what is told of them to who looks for records.

Owns those names. Knows nothing of what is in the files, so that to look at them needs no pyarrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

GRACE = timedelta(seconds=60)
"""How late a file may be: what writes it may have to wait for the disk."""
_TIME = "%Y%m%dT%H%M%SZ"
_HIDDEN = re.compile(r"\.(?P<name>served-.+\.parquet)\.(?P<due>\d{8}T\d{6}Z)\.tmp")


def hide(name: str, due: datetime) -> str:
    """Return the name of a file until it is finished, which is at `due` (UTC) at the latest."""
    return f".{name}.{due.strftime(_TIME)}.tmp"


def find_unfinished(folder: Path) -> list[datetime]:
    """Return when each file of a folder that is not finished was to be (UTC), the earliest first."""
    found = [_HIDDEN.fullmatch(path.name) for path in folder.glob(".served-*.tmp")]
    return sorted(datetime.strptime(match["due"], _TIME).replace(tzinfo=UTC) for match in found if match)


def describe_unfinished(due: Sequence[datetime], now: datetime) -> list[str]:
    """Say in sentences when files will be finished, and which never will be."""
    late = [each for each in due if each + GRACE < now]
    awaited = due[len(late) :]
    sentences = []
    if awaited:
        by = f"by {_local(awaited[-1])} (RANKER_FEATURE_LOG_FILE_S), or when the service stops"
        last = "It will be" if len(awaited) == 1 else "They will be"
        sentences.append(f"{_files(len(awaited))} not finished yet. {last} {by}.")
    if late:
        lost = f"The last was due at {_local(late[-1])}: what wrote them was killed, or cannot write any more"
        sentences.append(f"{_files(len(late))} not finished, and late. {lost}.")
    return sentences


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count:,} files are"


def _local(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
