from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ranker.errors import Unauthorized, UnknownPath, WrongMethod
from ranker.http.gate import Gate, known_paths


def endpoint() -> None:
    """Stands for one."""


def test_only_what_the_app_serves_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    (tmp_path / "css" / "a.css").touch()
    routes = [
        Route("/predict", endpoint, methods=["POST"]),
        Route("/livez", endpoint),
        Mount("/static", StaticFiles(directory=tmp_path)),
        Mount("/sub", routes=[Route("/page", endpoint)]),
    ]
    gate = Gate(known_paths(routes))
    for method, path in (("POST", "/predict"), ("GET", "/livez"), ("HEAD", "/static/css/a.css"), ("GET", "/sub/page")):
        gate.check_path(method, path)
    for path in ("/", "/predict/", "/static", "/static/css", "/static/b.css", "/sub", "/sub/"):
        with pytest.raises(UnknownPath):
            gate.check_path("GET", path)
    with pytest.raises(WrongMethod) as refused:
        gate.check_path("GET", "/predict")
    assert refused.value.allowed == ("OPTIONS", "POST")
    gate.check_path("OPTIONS", "/predict")
    with pytest.raises(UnknownPath):
        gate.check_path("OPTIONS", "/nowhere")


def test_token_that_is_not_ascii_is_just_wrong() -> None:
    gate = Gate({}, ["t" * 16])
    for given in (b"Bearer \xff", b"\xff", b"Bearer \xff" + b"t" * 16, b"Bearer  ", b"Basic " + b"t" * 16):
        with pytest.raises(Unauthorized):
            gate.check_caller("/predict", {b"authorization": given})
    gate.check_caller("/predict", {b"authorization": b"BEARER  " + b"t" * 16})
    gate.check_caller("/readyz", {})
    Gate({}).check_caller("/predict", {})


def test_any_of_several_tokens_is_taken_and_no_part_of_them() -> None:
    old, new = "o" * 16, "n" * 16
    gate = Gate({}, [old, new])
    for token in (old, new):
        gate.check_caller("/predict", {b"authorization": f"Bearer {token}".encode()})
    for wrong in (f"{old},{new}", f"{old}, {new}", old[:-1], new + "n", ""):
        with pytest.raises(Unauthorized):
            gate.check_caller("/predict", {b"authorization": f"Bearer {wrong}".encode()})
