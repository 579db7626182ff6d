"""OpenTelemetry spans, where an exporter is configured: one of each request, with its fetch and its score below it.

Spans are made when a request is over, from the moments that were noted anyway, so a request costs nothing more while it
is under way, and one that is not sampled next to nothing. The configuration is OpenTelemetry's own (`OTEL_…`), read
by its SDK; here it is only found out whether there is an exporter, and the SDK is imported only then. Nothing is passed
on to the runner: a call of the model scores rows of many requests, which belong to as many traces.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from time import monotonic_ns, time_ns
from typing import Any

from ranker.api.headers import Headers
from ranker.errors import InvalidSettings
from ranker.ranking.answer import Answer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
NAMED = "OTEL_TRACES_EXPORTER"
GROUP = "opentelemetry_traces_exporter"
PACKAGES = {
    "otlp_proto_http": "'bento-ranker[otlp]'",
    "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc (or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)",
}
"""Installation advice by exporter, for one that is missing."""
CLOSE_S = 3.0
"""Seconds that a stop waits for what was not exported yet."""


def find_exporter(environ: Mapping[str, str]) -> EntryPoint | None:
    """Return what makes the exporter that the environment names; None when it names none.

    Raises:
        InvalidSettings: it names one that is not installed, or several.
    """
    wanted = environ.get(NAMED) or ("otlp" if any(map(environ.get, ENDPOINTS)) else "none")
    if wanted == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if "," in wanted:
        raise InvalidSettings([f"{NAMED} names several exporters, and spans go to one: name one of {wanted}"])
    if wanted == "otlp":
        protocol = next(filter(None, map(environ.get, PROTOCOLS)), "http/protobuf")
        wanted = f"otlp_proto_{protocol.partition('/')[0]}"
    for found in entry_points(group=GROUP, name=wanted):
        return found
    asked = next(filter(environ.get, (NAMED, *PROTOCOLS, *ENDPOINTS)))
    package = PACKAGES.get(wanted, f"the package that has it, as {wanted} of the group {GROUP}")
    raise InvalidSettings(
        [f"{asked} asks for the exporter {wanted}, which is not installed; install {package}, or unset {asked}"]
    )


class Spans:
    """Makes the spans of finished requests, and has them exported in the background.

    Args:
        exporter: As `find_exporter` found it.
        version: Ranker's.
    """

    def __init__(self, exporter: EntryPoint, version: str) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ours = Resource({"service.name": "ranker", "service.version": version, "service.instance.id": os.getpid()})
        # The sampler is the SDK's: the caller's decision, and OTEL_TRACES_SAMPLER where the caller has none.
        self._provider = TracerProvider(
            resource=Resource.get_empty().merge(ours).merge(OTELResourceDetector().detect())
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
        self._tracer = self._provider.get_tracer("ranker", version)
        self._propagator = TraceContextTextMapPropagator()

    def answered(self, headers: Headers, request_id: str, answer: Answer, rendered: float) -> str:
        """Make the spans of an answered request.

        Args:
            headers: The request's.
            request_id: Its own.
            answer: Its answer.
            rendered: When that was made, by `time.monotonic`.

        Returns:
            The id of its trace.
        """
        from opentelemetry.trace import set_span_in_context

        shift_ns = _to_unix_ns()
        arrived, began, fetched, assembled, scored, _ = answer.moments
        features, call = answer.features, answer.call
        span = self._begin(headers, _ns(arrived) + shift_ns, 200, request_id)
        if span.is_recording():
            span.set_attribute("ranker.products", len(features.products))
            span.set_attribute("ranker.queue_ms", (began - arrived) * 1000)
            if answer.degraded_reason is not None:
                span.set_attribute("ranker.degraded_reason", answer.degraded_reason)
            below = set_span_in_context(span)
            fetch: dict[str, Any] = {"ranker.rows": 1 + len(features.products), "ranker.cache_hits": features.held}
            if reading := features.reading:
                fetch |= {
                    "ranker.decode_ms": reading.decode_s * 1000,
                    "ranker.merged_requests": reading.requests,
                    "ranker.merged_rows": reading.keys,
                }
            score: dict[str, Any] = {"ranker.rows": len(features.products)}
            if call is not None:
                score |= {"ranker.merged_requests": call.requests, "ranker.merged_rows": call.rows}
            for name, start, end, attributes in (("fetch", began, fetched, fetch), ("score", assembled, scored, score)):
                start_ns, end_ns = _ns(start) + shift_ns, _ns(end) + shift_ns
                self._tracer.start_span(name, below, attributes=attributes, start_time=start_ns).end(end_ns)
        span.end(_ns(rendered) + shift_ns)
        return f"{span.get_span_context().trace_id:032x}"

    def failed(self, headers: Headers, request_id: str | None, arrived: float, status: int, error_type: str) -> None:
        """Make the span of a request that was answered with an error."""
        from opentelemetry.trace import Status, StatusCode

        span = self._begin(headers, _ns(arrived) + _to_unix_ns(), status, request_id)
        span.set_attribute("error.type", error_type)
        if status >= 500:  # below, the caller is at fault (OpenTelemetry's conventions for servers)
            span.set_status(Status(StatusCode.ERROR))
        span.end(time_ns())

    async def close(self) -> None:
        """Export what is left, within `CLOSE_S`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), CLOSE_S)

    def _begin(self, headers: Headers, start_ns: int, status: int, request_id: str | None) -> Any:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        carrier = {name: headers.get(name.encode(), b"").decode("latin-1") for name in ("traceparent", "tracestate")}
        attributes: dict[str, Any] = {
            "http.request.method": "POST",
            "url.path": "/predict",
            "http.response.status_code": status,
        }
        if request_id is not None:
            attributes["ranker.request_id"] = request_id
        return self._tracer.start_span(
            "POST /predict",
            self._propagator.extract({name: value for name, value in carrier.items() if value}, Context()),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=start_ns,
        )


def make_spans(environ: Mapping[str, str], version: str) -> Spans | None:
    """Return what makes spans for the exporter that the environment names; None when it names none."""
    found = find_exporter(environ)
    return None if found is None else Spans(found, version)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _to_unix_ns() -> int:
    """Return what makes nanoseconds of `time.monotonic` those of Unix time; asked each time, for clocks are set."""
    return time_ns() - monotonic_ns()
