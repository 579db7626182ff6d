"""Startup errors: the fault of whoever started us."""

from __future__ import annotations

from collections.abc import Sequence

from ranker.errors.base import RankerError


class StartupError(RankerError):
    """The service cannot start; the message names every problem and its remedy."""

    def to_exit(self) -> SystemExit:
        """Return the end of a process that cannot start: the message as the commands print theirs, and exit code 1."""
        return SystemExit(f"Error: {self}")


class InvalidSettings(StartupError):
    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("Ranker cannot start:\n" + "\n".join(f"  - {p}" for p in problems))


class InvalidSchema(StartupError):
    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The feature schema is invalid:\n" + "\n".join(f"  - {p}" for p in problems))


class ModelNotFound(StartupError):
    def __init__(self, tag: str, near: Sequence[str] = ()) -> None:
        holds = f", which holds {', '.join(near)}; a version is given whole" if near else ""
        super().__init__(
            f"Model {tag} is not in the Bento model store{holds}. Import it with `ranker model import MODEL.onnx "
            f"--schema schema.yaml --name NAME`, run `ranker demo` for the example shop, or set RANKER_MODEL."
        )


class ModelUnusable(StartupError):
    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"Model {tag} cannot be served: {reason}")


class ModelNotStored(StartupError):
    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"Model {tag} cannot be stored: {reason}")


class ModelNotRemoved(StartupError):
    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"Model {tag} cannot be removed: {reason}")


class UnusableUrl(StartupError):
    def __init__(self, problem: str) -> None:  # what of the URL may be told, for it may hold a password
        self.problem = problem
        super().__init__(f"The Redis URL {problem}.")


class StoreUnreachable(StartupError):
    def __init__(self, where: str, reason: str) -> None:
        at = "" if where in reason else f" at {where}"
        super().__init__(
            f"Redis{at} cannot be reached: {reason}. Set RANKER_REDIS_URL, or run `make serve` (or `ranker "
            f"demo`) for the example shop with its own Redis."
        )


class StoreIsCluster(StartupError):
    def __init__(self, where: str, reason: str, remedy: str) -> None:
        super().__init__(
            f"Redis at {where} is a node of a Cluster, and cannot be read as one server: {reason}. Set "
            f"RANKER_REDIS_URL to {remedy}, with user, password and options as before."
        )


class ServiceUnreachable(StartupError):
    def __init__(self, url: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"The service at {url} did not answer: {reason}. {remedy}".rstrip())


class BentoHomeUnusable(StartupError):
    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}.")


class NoRunFolder(StartupError):
    def __init__(self, tried: Sequence[str], most_bytes: int) -> None:
        super().__init__(
            f"Ranker cannot make a folder for its sockets in {' or '.join(tried)}: it must be allowed to write "
            f"there, and the name may have {most_bytes} bytes. Set TMPDIR to such a folder."
        )


class FilesPackageMissing(StartupError):
    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"Reading {path} needs the package pyarrow: {reason}. Install 'bento-ranker[files]'; JSON Lines and NPZ do "
            f"without."
        )


class ImportPackageMissing(StartupError):
    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The graph must be changed to fit, which needs the package onnx: {reason}. Install "
            "'bento-ranker[import]'; serving does without."
        )


class EntraPackageMissing(StartupError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"auth=entra needs the package redis-entraid: {reason}. Install 'bento-ranker[entra]'.")


class DemoPackageMissing(StartupError):
    def __init__(self, package: str, reason: str) -> None:
        super().__init__(
            f"The example shop needs the package {package}: {reason}. Install 'bento-ranker[demo]' (`make serve` in a "
            f"checkout does); with RANKER_REDIS_URL and RANKER_MODEL set, `ranker serve` needs none of it."
        )


class EmbeddedRedisFailed(StartupError):
    def __init__(self, directory: str, reason: str) -> None:
        super().__init__(f"The embedded Redis of {directory} failed: {reason}. Or set RANKER_REDIS_URL to use another.")


class ForeignFeatures(StartupError):
    def __init__(self, where: str, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        super().__init__(
            f"Redis at {where} holds something else under {shown}, which the example shop would overwrite. Point "
            f"RANKER_REDIS_URL at another database (such as redis://HOST:PORT/1), or give --force to overwrite it."
        )


class AddressUnusable(StartupError):
    def __init__(self, host: str, port: int, reason: str, remedy: str) -> None:
        super().__init__(f"Cannot listen on {host}:{port}: {reason}. {remedy}")
