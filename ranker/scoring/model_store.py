"""BentoML's model store: what lies under a tag, whole or damaged, and changes to it, one at a time.

Owns how it is read, locked and written, and what is said when it cannot be. Knows nothing of what makes a stored model
one that ranks.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from bentoml.exceptions import BentoMLException, NotFound

from ranker.errors import ModelNotRemoved, ModelNotStored, ModelUnusable
from ranker.process import bento_home, vendor_telemetry

vendor_telemetry.switch_off()
do_not_track.cache_clear()  # `bentoml serve` has asked before it imported the service, and remembers the answer


def find(tag: str) -> bentoml.Model:
    """Return what is stored under this very tag; without a version, the latest.

    Raises:
        NotFound: nothing is.
        ModelUnusable: the tag is invalid, or what is stored under it is damaged or cannot be read.
    """
    try:
        asked = bentoml.Tag.from_taglike(tag)
    except (BentoMLException, ValueError) as err:
        raise ModelUnusable(tag, f"{err}.") from err
    is_latest = asked.version in (None, "latest")
    try:
        if is_latest:
            return bentoml.models.get(tag)
        found = bentoml.models.list(asked)  # `get` would take the beginning of a version for the version
    except NotFound:
        raise
    except OSError as err:
        raise ModelUnusable(tag, _unreadable(err)) from err
    except Exception as err:  # what BentoML makes of a damaged file has no base of its own
        raise ModelUnusable(tag, _describe_no_latest(asked.name) if is_latest else describe_damage(str(asked))) from err
    if not found:
        raise NotFound(tag)
    return found[0]


def read_all() -> tuple[list[bentoml.Model], list[str]]:
    """Return the stored models that are whole, sorted by tag, and the tags of those that are damaged.

    Raises:
        ModelUnusable: the store cannot be read.
    """
    whole, damaged = [], []
    for tag in tags():
        try:
            whole.append(find(tag))
        except ModelUnusable:
            damaged.append(tag)
        except NotFound:  # it was removed meanwhile
            continue
    return whole, damaged


def tags() -> list[str]:
    """Return the tags in the store, each with its version, whole or damaged, sorted.

    Raises:
        ModelUnusable: the store cannot be read.
    """
    try:
        folders = [folder for name in _folder().iterdir() if name.is_dir() for folder in name.iterdir()]
        return sorted(f"{folder.parent.name}:{folder.name}" for folder in folders if folder.is_dir())
    except OSError as err:
        raise ModelUnusable("in the Bento model store", _unreadable(err)) from err


def describe_damage(tag: str) -> str:
    """Say what a damaged model lacks, and what to do."""
    remedy = f"Import it again, or remove it with `ranker model rm {tag}`."
    return f"the model.yaml of {tag} is missing or damaged. {remedy}"


@contextmanager
def writing(tag: str) -> Iterator[None]:
    """Let one process at a time write to the store, for Bento does not check and create a tag in one step.

    Raises:
        ModelNotStored: the store cannot be written, or BentoML refuses.
    """
    try:
        with _locked():
            yield
    except (OSError, BentoMLException) as err:
        raise ModelNotStored(tag, _unwritable(err, Path(tempfile.gettempdir()))) from err


def refuse_damaged_latest(tag: str) -> None:
    """Refuse to store a version beside a damaged latest one: BentoML reads that one, too, and fails.

    Raises:
        ModelNotStored: with what to do.
    """
    name = bentoml.Tag.from_taglike(tag).name
    if not (_folder() / name / "latest").exists():
        return
    try:
        find(name)
    except NotFound:
        return
    except ModelUnusable as err:
        raise ModelNotStored(tag, f"BentoML reads the latest version, too. {err}") from err


def remove(tag: str) -> None:
    """Remove what is stored under a tag with a version, whole or damaged.

    Raises:
        ModelNotRemoved: the store cannot be written.
    """
    try:
        with _locked():
            delete(tag)
    except (OSError, BentoMLException) as err:
        raise ModelNotRemoved(tag, _unwritable(err)) from err


def delete(tag: str) -> None:
    """Delete the folder of a tag, for who holds the lock."""
    try:
        bentoml.models.delete(tag)
    except Exception:  # BentoML goes on to read the versions that are left, of which one may be damaged
        if tag in tags():
            raise


def _describe_no_latest(name: str) -> str:
    """Say what keeps BentoML from the latest version: it reads all of them where the file `latest` names none."""
    file, named = _folder() / name / "latest", ""
    with suppress(OSError, UnicodeDecodeError):
        named = f"{name}:{file.read_text().strip()}"
    damaged = [tag for tag in read_all()[1] if tag.startswith(f"{name}:")]
    if not damaged:  # what a full disk leaves of it
        return f"the file {file} names no version. Remove it, and BentoML makes it anew."
    return describe_damage(named if named in damaged else damaged[0])


@contextmanager
def _locked() -> Iterator[None]:
    with open(_folder() / ".ranker-import.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _folder() -> Path:
    return Path(BentoMLContainer.model_store.get()._path)


def _unreadable(err: OSError) -> str:
    if problem := bento_home.find_problem():
        return f"{problem}."
    return f"{err}. Let this user read the model store {_folder()}, or set BENTOML_HOME to another home of BentoML."


def _unwritable(err: Exception, *beside: Path) -> str:
    """Return why the store, or a folder beside it, could not be written, and what to do."""
    if not isinstance(err, OSError):
        return f"{err}."
    if problem := bento_home.find_problem():
        return f"{problem}."
    # Of a folder that was not copied whole, what stopped its first file.
    reason = err.args[0][0][-1] if isinstance(err, shutil.Error) and isinstance(err.args[0], list) else err
    folders = " and ".join(map(str, (_folder(), *beside)))
    return (
        f"{reason}. Give {folders} room and let this user write there, or set BENTOML_HOME to another home of BentoML."
    )
