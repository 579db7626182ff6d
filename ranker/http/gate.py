"""Gate: checks path, method and bearer token.

Paths that nobody serves end here, for BentoML would keep a time series for each. Owns paths, methods and the token;
knows nothing of rankings.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ranker.errors import Unauthorized, UnknownPath, WrongMethod

READ = frozenset({"GET", "HEAD"})
OPTIONS = "OPTIONS"
"""Method that every path takes, and answers with the methods that it takes."""
HEALTH = frozenset({"/livez", "/readyz", "/healthz"})
"""Paths that are open to everybody, for what probes them has no token."""
PAGES = frozenset({"/", "/play", "/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js"})
"""Pages and what they are made of. A browser sends no token before its page asks for it; they hold no data."""
OPEN = HEALTH | PAGES
"""Paths that need no token."""


class Gate:
    """Lets requests through, or raises.

    Args:
        paths: Path → the methods it takes.
        tokens: What callers must show one of; none lets everybody in.
    """

    def __init__(self, paths: Mapping[str, frozenset[str]], tokens: Sequence[str] = ()) -> None:
        self._paths = paths
        self._tokens = tuple(token.encode() for token in tokens)

    def check_path(self, method: str, path: str) -> None:
        """Check that there is something.

        Raises:
            UnknownPath, WrongMethod: there is not.
        """
        methods = self._paths.get(path)
        if methods is None:
            raise UnknownPath
        if method not in methods and method != OPTIONS:
            raise WrongMethod(self.methods(path))

    def methods(self, path: str) -> list[str]:
        """Return the methods that a known path takes, OPTIONS among them."""
        return sorted(self._paths[path] | {OPTIONS})

    def check_caller(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Check the token, in a time that tells neither how much of it was right nor which one it was.

        Raises:
            Unauthorized: the token is needed, and missing or wrong.
        """
        if not self._tokens or path in OPEN:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        given, known = given.strip(), False
        for token in self._tokens:
            known |= hmac.compare_digest(given, token)
        if scheme.lower() != b"bearer" or not known:
            raise Unauthorized


def known_paths(routes: Iterable[BaseRoute], prefix: str = "") -> dict[str, frozenset[str]]:
    """Return the paths that an app's routes serve, each file of a static directory among them."""
    paths: dict[str, frozenset[str]] = {}
    for route in routes:
        if isinstance(route, Route):
            paths[prefix + route.path] = frozenset(route.methods) if route.methods else READ
        elif isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            for directory in route.app.all_directories:
                files = (f for f in Path(directory).rglob("*") if f.is_file())
                paths |= {f"{prefix}{route.path}/{f.relative_to(directory).as_posix()}": READ for f in files}
        elif isinstance(route, Mount):
            paths |= known_paths(route.routes, prefix + route.path)
    return paths
