"""Load-test errors: the fault of whoever asked for one."""

from __future__ import annotations

from ranker.errors.base import RankerError


class LoadTestError(RankerError):
    """A load test cannot begin."""


class InvalidTarget(LoadTestError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url!r} is no service to load: {reason}. Give one such as http://127.0.0.1:3000.")


class TargetUnreachable(LoadTestError):
    def __init__(self, url: str, reason: str) -> None:
        remedy = "Start it with `ranker serve`, or name where it serves."
        super().__init__(f"The service at {url} cannot be reached: {reason}. {remedy}")


class TargetRefuses(LoadTestError):
    def __init__(self, url: str, status: int, answer: str) -> None:
        shown = " ".join(answer[:200].split())
        super().__init__(f"The service at {url} answers a ranking with status {status}: {shown}")


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
