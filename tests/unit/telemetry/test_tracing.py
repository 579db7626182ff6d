import pytest

from ranker.api.headers import trace_id
from ranker.errors import InvalidSettings
from ranker.telemetry.tracing import find_exporter

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        (ENDPOINT, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, None),
    ],
)
def test_traces_go_where_opentelemetrys_variables_say(environ: dict[str, str], name: str | None) -> None:
    found = find_exporter(environ)
    assert (found.name if found else None) == name
    if found:
        assert callable(found.load())


def test_exporter_that_is_not_installed_is_an_invalid_setting() -> None:
    with pytest.raises(InvalidSettings, match="OTLP_PROTOCOL asks for the exporter otlp_proto_grpc, which"):
        find_exporter(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_several_exporters_are_refused_with_what_to_name() -> None:
    with pytest.raises(InvalidSettings, match=r"OTEL_TRACES_EXPORTER names several .*: name one of otlp,console"):
        find_exporter({"OTEL_TRACES_EXPORTER": "otlp,console"})


def test_absent_otlp_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # where distributions are looked for
    with pytest.raises(InvalidSettings, match=r"OTLP_ENDPOINT asks .* install 'bento-ranker\[otlp\]', or"):
        find_exporter(ENDPOINT)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        (b"00-0af7651916cd43dd8448eb211c80319c", None),
        (b"00-0af7651916cd43dd\n448eb211c80319c-b7ad6b7169203331-01", None),
        (b"00-" + b"a" * 500 + b"-b7ad6b7169203331-01", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_trace_is_the_callers_where_that_is_one(said: bytes, expected: str | None) -> None:
    assert trace_id({b"traceparent": said}) == expected
    assert trace_id({}) is None
