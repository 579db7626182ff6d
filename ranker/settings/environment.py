"""Settings in the environment: `RANKER_*`, read once, every problem reported at once.

Owns names, types, units and defaults. Must not know of what is put together from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, FilePath, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ranker.errors import InvalidSettings
from ranker.process.cores import usable_cores
from ranker.redis.url import parse
from ranker.settings import destination, variables
from ranker.settings.variables import PREFIX

_TOKENS = "a token has at least 16 printable ASCII characters, none of them a space or comma; between tokens are commas"
_Tag = Annotated[str, variables.matching(r"[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)?", "a tag is NAME or NAME:VERSION")]
_Tokens = Annotated[str, variables.matching(r"[\x21-\x2b\x2d-\x7e]{16,}(,[\x21-\x2b\x2d-\x7e]{16,})*", _TOKENS)]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
MOST_THREADS = 4
"""Threads of a lone request, unless told otherwise: a hundred products are 25 for each."""
LOCAL_REDIS = "redis://127.0.0.1:6379/0"
DEMO_FOLDER = Path(".ranker")
"""State folder of `ranker demo`, with its Redis and its record, below the working folder."""
DEMO_EXAMPLES = {"ranker-demo": "example.json", "ranker-synthetic": "example-synthetic.json"}
"""A model of `ranker demo` → the file there with a request for it."""


class Settings(BaseModel):
    """Everything that can be set, as read from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    redis_url: Annotated[str, Field(repr=False)] = LOCAL_REDIS
    """Where the features are, as redis-py takes it: `redis://`, `rediss://` (TLS) or `unix://`; or `redis+cluster://`
    and `redis+sentinel://` (`rediss+…` with TLS); with `?auth=entra`, tokens of Entra ID are the password. When unset
    while the server of `ranker demo` runs in the working folder, that is used."""
    model: _Tag = "ranker-demo:latest"
    """Bento tag of the model to serve; a fixed version is best in production. When unset, a Bento serves the model
    it was built with; and its canary and shadow, when all three are unset."""
    canary_model: _Tag | None = None
    """Bento tag of a second model, which ranks for a part of the users."""
    canary_percent: Annotated[float, Field(ge=0, le=100)] = 1.0
    """The canary's part of the users, in percent, down to hundredths; the same users everywhere."""
    shadow_model: _Tag | None = None
    """Bento tag of a model that ranks a sample of the requests again, unseen, to be compared with the answers."""
    shadow_percent: Annotated[float, Field(ge=0, le=100)] = 1.0
    """The sampled part of the requests, in percent."""
    runner: Literal["service", "local"] = "service"
    """Where scoring happens: in a BentoML runner service, or inside each API worker (lowest latency for small CPU
    models)."""
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = "auto"
    """API worker processes; `auto` is one for each core this container may use. The runner service comes on top."""
    score_threads: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    """Threads that score a request while no other waits for the model, where it is served whole and its rows are
    independent; under load, and for models in parts, each call has one. `auto` is up to four of the cores this
    container may use, shared by the workers where these score, if timing the model at its start says that they take a
    tenth less time."""
    max_products: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The most products of one request."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """The largest request body, in bytes. When unset, more where the models' `context` and `productContext` are wide,
    or max_products many: as much as the largest request they allow may take, up to max_buffered_mb."""
    read_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds a request may take to arrive, its headers and its body each."""
    keep_alive_s: Annotated[float, Field(gt=0, le=86_400)] = 620.0
    """Seconds a connection may idle after an answer. It has to be more than a balancer in front keeps its idle
    connections, or a request now and then meets one that is being closed, and the balancer answers 502."""
    max_connections: Annotated[int, Field(ge=1)] = 10_000
    """The most connections to one API worker; beyond it, or where the limit of open files is near, the oldest that have
    asked nothing are closed, then those that have been idle for longest."""
    max_buffered_mb: Annotated[int, Field(ge=1)] = 64
    """Memory for bodies under way and for answers that their callers have not read, in each API worker, in MiB; beyond
    it the oldest are dropped."""
    max_in_flight_rows: Annotated[int, Field(ge=1)] = 60_000
    """The most (user, product) rows in flight in one API worker; beyond it, or beyond what it can rank in good time,
    requests are refused with 429."""
    max_batch_rows: Annotated[int, Field(ge=2)] = 2048
    """The most rows scored in one call of the model."""
    cache_mb: Annotated[int, Field(ge=0)] = 64
    """Memory for decoded rows in each API worker, in MiB, in equal parts for the model, its canary and its shadow;
    0 switches the near cache off."""
    cache_ttl_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds a cached product is used, at most, even when Redis announces changes."""
    cache_user_ttl_s: Annotated[float, Field(ge=0)] = 10.0
    """The same for users; 0 caches no users."""
    cache_tracking: Literal["auto", "on", "off"] = "auto"
    """Whether Redis announces changed keys (CLIENT TRACKING): use it where the server can, cache nothing without it,
    or do without it."""
    warm_products: FilePath | None = None
    """A file of product ids, one a line, hottest first; each API worker reads them into the near cache before it is
    ready."""
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 1000.0
    """Milliseconds a request may take before what is missing is substituted (or refused, see on_failure); a caller may
    ask for less in X-Request-Timeout-Ms."""
    redis_timeout_ms: Annotated[float, Field(gt=0, le=60_000)] = 300.0
    """Milliseconds one exchange with Redis may take, connecting included. After one that fails, Redis counts as down,
    and is asked by probes only, until it answers one."""
    on_failure: Literal["degrade", "error"] = "degrade"
    """When Redis or the runner fails or is late: answer with substitutes and `degraded: true`, or with 503/504."""
    missing_user: Literal["default", "error"] = "default"
    """A user without features: rank with the schema's default vector, or answer 404."""
    missing_product: Literal["default", "last", "drop"] = "default"
    """A product without features: score the schema's default vector, rank it last, or leave it out."""
    api_token: Annotated[_Tokens | None, Field(repr=False)] = None
    """When set, every request but health checks and the playground's page must carry it: `Authorization: Bearer TOKEN`.
    At least 16 printable characters without a comma; or several such tokens with commas between, of which each is
    taken, to replace one without a moment in which callers are refused."""
    cors_origins: Annotated[str | None, Field(min_length=1)] = None
    """Origins whose web pages may ask from a browser (CORS), such as `https://shop.example`, with commas between, or
    `*` for all. Preflights need no token; what they ask for does. When unset, only pages of the service itself can."""
    slow_ms: Annotated[float, Field(ge=0)] = 500.0
    """Milliseconds from which an answer counts as slow: it is logged with its stages, five a second at most; 0 logs
    none."""
    log_format: Literal["text", "json"] = "text"
    """How log lines look: BentoML's text, or a JSON object each."""
    playground: Literal["on", "off"] = "on"
    """Whether `GET /play` serves the playground page. It can do no more than whoever may ask `/explain`, but for
    `/play/ids`, which names some ids that are stored."""
    feature_log: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """Where a sample of what was served is written, for training and `ranker log replay`: a folder for Parquet files,
    `stream:KEY` for a stream in the features' Redis, or a Redis URL with `?stream=KEY`."""
    feature_log_percent: Annotated[float, Field(ge=0, le=100)] = 1.0
    """The written part of the requests, in percent, down to hundredths; by `requestId` and `userId`, the same ones
    everywhere."""
    feature_log_file_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    """A file of the feature log is finished when it is about so large, in MiB, or as old as feature_log_file_s says."""
    feature_log_file_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds after its first record that a file of the feature log is finished, at the latest."""
    feature_log_stream_records: Annotated[int, Field(ge=1)] = 10_000
    """About how many records the feature log's stream keeps."""
    drain_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    """Seconds that a worker told to end (SIGTERM) still takes requests while `/readyz` says 503, so that balancers can
    turn away."""

    @model_validator(mode="after")
    def _no_share_of_nothing(self) -> Self:
        for role in ("canary", "shadow"):
            if f"{role}_percent" in self.model_fields_set and getattr(self, f"{role}_model") is None:
                raise PydanticCustomError("share", f"{PREFIX}{role.upper()}_PERCENT needs {PREFIX}{role.upper()}_MODEL")
        of_log = sorted(name for name in self.model_fields_set if name.startswith("feature_log_"))
        if of_log and self.feature_log is None:
            raise PydanticCustomError("share", f"{PREFIX}{of_log[0].upper()} needs {PREFIX}FEATURE_LOG")
        return self

    @model_validator(mode="after")
    def _no_body_beyond_all(self) -> Self:
        if self.max_body_bytes > self.max_buffered_mb << 20:
            raise PydanticCustomError("room", f"{PREFIX}MAX_BODY_BYTES is more than {PREFIX}MAX_BUFFERED_MB holds")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _known_origins(cls, text: str | None) -> str | None:
        if text is not None and text != "*":
            for origin in text.split(","):
                if not _ORIGIN.fullmatch(origin):
                    raise ValueError(f"{origin!r} is no origin, such as https://shop.example or http://localhost:8080")
        return text

    @field_validator("feature_log")
    @classmethod
    def _known_destination(cls, text: str | None) -> str | None:
        if text is not None:
            destination.parse(text, LOCAL_REDIS)
        return text

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parse(url)
        return url

    @classmethod
    def from_env(cls, environ: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> Self:
        """Read every `RANKER_*` variable.

        Args:
            environ: The environment.
            defaults: Values, by field name, for what the environment leaves out.

        Raises:
            InvalidSettings: naming every unknown and every invalid variable.
        """
        given, problems = variables.read(environ, cls.model_fields)
        try:
            settings = cls.model_validate({**(defaults or {}), **given})
        except ValidationError as err:
            problems += variables.describe(err, cls.model_fields)
        if problems:
            raise InvalidSettings(problems)
        return settings

    @property
    def api_tokens(self) -> tuple[str, ...]:
        """The tokens that callers may show; none where they need none."""
        return () if self.api_token is None else tuple(self.api_token.split(","))

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may ask; none without CORS."""
        return () if self.cors_origins is None else tuple(self.cors_origins.split(","))

    @property
    def feature_log_destination(self) -> destination.Destination | None:
        """The feature log's destination; None when there is none."""
        return None if self.feature_log is None else destination.parse(self.feature_log, self.redis_url)

    @property
    def variant_cache_bytes(self) -> int:
        """The near cache's memory for each of the models that are served, in bytes."""
        return (self.cache_mb << 20) // (1 + (self.canary_model is not None) + (self.shadow_model is not None))

    @property
    def stop_bound_s(self) -> float:
        """Seconds from SIGTERM until an API worker is gone: it drains, bodies under way arrive, and are answered."""
        return self.drain_s + self.read_timeout_s + self.deadline_ms / 1000 + 5

    @property
    def lone_threads(self) -> int:
        """The most threads that score a request while no other waits."""
        if self.score_threads != "auto":
            return self.score_threads
        return max(1, min(MOST_THREADS, usable_cores() // (self.api_workers if self.runner == "local" else 1)))

    @property
    def api_workers(self) -> int:
        """The number of API worker processes to start."""
        if self.workers != "auto":
            return self.workers
        return usable_cores()


def embedded_redis() -> dict[str, str]:
    """Return the setting `redis_url` where the server of `ranker demo` runs in the working folder; else nothing."""
    socket = DEMO_FOLDER / "redis.sock"
    # The path may be a link, for what a socket's path may be is short.
    return {"redis_url": f"unix://{quote(os.path.realpath(socket))}"} if socket.exists() else {}
