"""Every error Ranker raises, one class per arrow of the data flow.

The family says whose fault it was: the caller's (`RequestError`), the stored data's (`FeatureError`), something we
call (`DependencyError`), the model's (`ModelError`) or whoever started us (`StartupError`). Errors are built from
context, never from prose, and know nothing of HTTP: `service.py` holds the table from error to status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_LISTED_PROBLEMS = 5
"""How many problems of one request its error names."""


class RankerError(Exception):
    """Base of all errors raised on purpose by this package."""


# --- the caller's fault ------------------------------------------------------------------------------------------


class RequestError(RankerError):
    """The request cannot be answered as it was asked.

    Attributes:
        request_id: The caller's `requestId`, where it could be read.
    """

    request_id: str | None = None


class EmptyBody(RequestError):
    def __init__(self) -> None:
        super().__init__("The request has no body; send a JSON object with userId and productIds.")


class InvalidJson(RequestError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The request body is not valid JSON: {reason}.")


class InvalidRequest(RequestError):
    def __init__(self, problems: Sequence[str]) -> None:
        more = (f"and {len(problems) - MAX_LISTED_PROBLEMS} more",) if len(problems) > MAX_LISTED_PROBLEMS else ()
        self.problems = (*problems[:MAX_LISTED_PROBLEMS], *more)
        super().__init__("The request is invalid: " + "; ".join(self.problems) + ".")


class DuplicateProducts(RequestError):
    def __init__(self, product_ids: Sequence[str]) -> None:
        self.product_ids = tuple(product_ids)
        shown = ", ".join(repr(i[:40]) for i in product_ids[:5])
        more = f" and {len(product_ids) - 5} more" if len(product_ids) > 5 else ""
        super().__init__(f"productIds must not repeat an id; repeated: {shown}{more}.")


class TooManyProducts(RequestError):
    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"productIds has {count} entries; at most {limit} are ranked in one request.")


class BodyTooLarge(RequestError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes} bytes.")


class SlowBody(RequestError):
    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The request body did not arrive within {limit_s:g} s.")


class CallerGone(RequestError):
    """Nobody reads this one; it is counted."""

    def __init__(self) -> None:
        super().__init__("The caller hung up before the answer.")


class InvalidTimeout(RequestError):
    def __init__(self, value: str) -> None:
        super().__init__(f"X-Request-Timeout-Ms is {value[:40]!r}; it takes whole milliseconds, 1 or more.")


class Unauthorized(RequestError):
    def __init__(self) -> None:
        super().__init__("The request carries no valid token; send the header Authorization: Bearer TOKEN.")


class PathError(RequestError):
    """The request is for something that is not there."""


class UnknownPath(PathError):
    def __init__(self) -> None:
        super().__init__("There is nothing at this path; rankings are at POST /predict.")


class WrongMethod(PathError):
    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(f"This path does not take that method; it takes {', '.join(allowed)}.")


class UnknownUser(RequestError):
    def __init__(self, user_id: str) -> None:
        super().__init__(f"User {user_id[:80]!r} has no features.")


class Overloaded(RequestError):
    """More rows are in flight than can be ranked in time."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The service is at its limit of {limit} rows in flight; try again shortly.")


# --- the stored data's fault -------------------------------------------------------------------------------------


class FeatureError(RankerError):
    """A stored feature vector, or one about to be stored, cannot be used."""


class WrongWidth(FeatureError):
    def __init__(self, got: int, expected: int) -> None:
        super().__init__(f"The vector has {got} values; the schema names {expected} features.")


class WrongFingerprint(FeatureError):
    def __init__(self, got: int, expected: int) -> None:
        super().__init__(f"The vector was written for schema {got:08x}; this model reads schema {expected:08x}.")


class CorruptVector(FeatureError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The stored bytes are no feature vector: {reason}.")


class WrongMatrix(FeatureError):
    def __init__(self, dtype: object, shape: tuple[int, ...], n: int, width: int) -> None:
        super().__init__(f"The {dtype} matrix has shape {shape}; expected numbers of shape ({n}, {width}).")


class ForeignFormat(FeatureError):
    def __init__(self, key: str, stored_as: str) -> None:
        super().__init__(
            f"The schema says that {key} is stored as {stored_as}, which Ranker reads and does not write. Leave out "
            "its format to have version-1 vectors there."
        )


class InvalidRows(FeatureError):
    """Rows handed to a writer, of which none has been written.

    Attributes:
        problems: Row (from 0) and what is wrong with it, for each row at fault.
    """

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(f"row {row}: {reason}" for row, reason in self.problems[:5])
        more = f"; and {len(self.problems) - 5} more" if len(self.problems) > 5 else ""
        super().__init__(f"{len(self.problems)} row(s) cannot be stored: {shown}{more}.")


class UnreadableFile(FeatureError):
    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}.")


class MissingColumns(FeatureError):
    def __init__(self, path: object, columns: Sequence[str], present: Sequence[str]) -> None:
        self.columns = tuple(columns)
        super().__init__(
            f"{path} lacks the column(s) {_listed(columns)}; it has {_listed(present) or 'none'}. Columns are matched "
            "by name; --id-column names the one with the ids."
        )


class ForeignRecord(FeatureError):
    def __init__(self, tag: str, fingerprint: int, widths: Sequence[int], other: int) -> None:
        super().__init__(
            f"What {tag} served has {' + '.join(map(str, widths))} columns of schema {fingerprint:08x}; the model to "
            f"rank it with takes others (schema {other:08x}). Name another with --model."
        )


class RejectedRows(FeatureError):
    def __init__(self, counts: Mapping[str, int], examples: Sequence[str], rows: int, consequence: str) -> None:
        self.counts = dict(counts)
        lines = [f"  - {reason}: {count:,} row(s)" for reason, count in counts.items()]
        first = [f"  - {example}" for example in examples]
        super().__init__(
            "\n".join(
                [
                    f"{sum(counts.values()):,} of {rows:,} rows cannot be loaded:",
                    *lines,
                    "The first:",
                    *first,
                    consequence,
                ]
            )
        )


class WrongResume(FeatureError):
    """`--resume` was asked for, and what is recorded in Redis is another load."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The load cannot be resumed: {reason}. Load without --resume to begin anew.")


class UnknownEntity(FeatureError):
    def __init__(self, pattern: str, templates: Sequence[str]) -> None:
        super().__init__(
            f"Whether the keys {pattern} are users' or products' cannot be told from the schema's key templates "
            f"({', '.join(templates)}). Give --entity."
        )


# --- the fault of something we call ------------------------------------------------------------------------------


class DependencyError(RankerError):
    """Redis or the model runner did not do its part."""


class StoreUnavailable(DependencyError):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The feature store did not answer: {reason}.")


class RunnerUnavailable(DependencyError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The model runner did not answer: {reason}.")


class DeadlineExceeded(DependencyError):
    def __init__(self, stage: str, deadline_ms: float) -> None:
        self.stage = stage
        super().__init__(f"The deadline of {deadline_ms:g} ms passed during {stage}.")


# --- the model's fault -------------------------------------------------------------------------------------------


class ModelError(RankerError):
    """The model does not keep its contract."""


class ModelRejected(ModelError):
    """An ONNX graph cannot serve as a ranking model; the message says how to export one that can."""


class WrongShape(ModelError):
    def __init__(self, what: str, got: tuple[int, ...], expected: str) -> None:
        super().__init__(f"{what} has shape {got}; expected {expected}.")


class ModelFailed(ModelError):
    def __init__(self, rows: int, reason: str) -> None:
        super().__init__(f"ONNX Runtime could not score {rows} rows: {reason}.")


# --- the fault of whoever started us -----------------------------------------------------------------------------


class StartupError(RankerError):
    """The service cannot start; the message names every problem and its remedy."""


class InvalidSettings(StartupError):
    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("Ranker cannot start:\n" + "\n".join(f"  - {p}" for p in problems))


class InvalidSchema(StartupError):
    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The feature schema is invalid:\n" + "\n".join(f"  - {p}" for p in problems))


class ModelNotFound(StartupError):
    def __init__(self, tag: str) -> None:
        super().__init__(
            f"Model {tag} is not in the Bento model store. Import it with `ranker model import MODEL.onnx "
            f"--schema schema.yaml --name NAME`, run `ranker demo` for the example shop, or set RANKER_MODEL."
        )


class ModelUnusable(StartupError):
    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"Model {tag} cannot be served: {reason}")


class ModelNotStored(StartupError):
    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"Model {tag} cannot be stored: {reason}")


class UnusableUrl(StartupError):
    def __init__(self) -> None:  # the URL may hold a password
        super().__init__("The Redis URL has an option, or a value of one, that redis-py does not take.")


class StoreUnreachable(StartupError):
    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"Redis at {where} cannot be reached: {reason}. Set RANKER_REDIS_URL, or run `make serve` (or `ranker "
            f"demo`) for the example shop with its own Redis."
        )


class StoreIsCluster(StartupError):
    def __init__(self, where: str, reason: str, remedy: str) -> None:
        super().__init__(
            f"Redis at {where} is a node of a Cluster, and cannot be read as one server: {reason}. Set "
            f"RANKER_REDIS_URL to {remedy}, with user, password and options as before."
        )


class ServiceUnreachable(StartupError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The service at {url} did not answer: {reason}.")


class FilesPackageMissing(StartupError):
    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"Reading {path} needs the package pyarrow: {reason}. Install ranker[files]; JSON Lines and NPZ do without."
        )


class EntraPackageMissing(StartupError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"auth=entra needs the package redis-entraid: {reason}. Install ranker[entra].")


class DemoPackageMissing(StartupError):
    def __init__(self, package: str, reason: str) -> None:
        super().__init__(
            f"The example shop needs the package {package}: {reason}. `make serve` installs what it needs; "
            f"with RANKER_REDIS_URL and RANKER_MODEL set, `bentoml serve` needs none of it."
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


class AddressInUse(StartupError):
    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"Cannot listen on {host}:{port}: {reason}. End what does, or choose another port.")


# --- the fault of whoever asked for a load test ------------------------------------------------------------------


class LoadTestError(RankerError):
    """A load test cannot begin."""


class InvalidTarget(LoadTestError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url!r} is no service to load: {reason}. Give one such as http://127.0.0.1:3000.")


class TargetUnreachable(LoadTestError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The service at {url} cannot be reached: {reason}.")


class TargetRefuses(LoadTestError):
    def __init__(self, url: str, status: int, answer: str) -> None:
        super().__init__(f"The service at {url} answers a ranking with status {status}: {answer[:200]}")


class UnknownIds(LoadTestError):
    def __init__(self, model: str, directory: str) -> None:
        super().__init__(
            f"The service serves {model}, and {directory} records no demo with that model, so the ids it knows are "
            f"unknown. Name them with --user-ids FILE and --product-ids FILE, one id a line."
        )


class InvalidIds(LoadTestError):
    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} gives no ids: {reason}. It must have one id a line.")


class TooFewProducts(LoadTestError):
    def __init__(self, known: int, wanted: int) -> None:
        super().__init__(f"Requests of {wanted} distinct products cannot be drawn from {known}; ask for fewer.")


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
