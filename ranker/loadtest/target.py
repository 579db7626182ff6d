"""Target of the load: a URL taken apart, the bytes of a request to it, and one question asked in advance.

Owns addresses, TLS and authorization; must not know of rates. Proxies that the environment names are not used: what is
measured would be theirs.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ranker.errors import InvalidTarget, TargetRefuses, TargetUnreachable

PROBE_TIMEOUT_S = 10.0
Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A served ranker.

    Attributes:
        url: As it was given, without a slash at the end.
        host: Name or address.
        port: TCP port.
        path: Of the ranking endpoint.
        tls: Whether it speaks https.
        headers: Of every request, beside those that HTTP needs.
    """

    url: str
    host: str
    port: int
    path: str
    tls: bool
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> Target:
        """Take a URL apart.

        Args:
            url: `http://` or `https://`; a path goes before `/predict`.
            token: Sent as `Authorization: Bearer`.

        Raises:
            InvalidTarget: it is no such URL, or the token is no header.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as err:
            raise InvalidTarget(url, str(err)) from None
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidTarget(url, "it must begin with http:// or https:// and name a host")
        if parts.query or parts.fragment or parts.username is not None:
            raise InvalidTarget(url, "it must have neither query, nor fragment, nor user")
        if not parts.netloc.isascii():
            raise InvalidTarget(url, "its host must be ASCII (xn--…)")
        path = parts.path.rstrip("/") + "/predict"
        if not (path.isascii() and path.isprintable()) or " " in path:
            raise InvalidTarget(url, "its path must be percent-encoded")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise InvalidTarget(url, "the token must be printable ASCII")
        tls = parts.scheme == "https"
        headers = [("Host", parts.netloc), ("Content-Type", "application/json")]
        if token is not None:
            headers.append(("Authorization", f"Bearer {token.strip()}"))
        return cls(url.rstrip("/"), host, port or (443 if tls else 80), path, tls, tuple(headers))

    def request(self, body: bytes) -> bytes:
        """Return the bytes of a whole request."""
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode("ascii") + body

    def address(self) -> Address:
        """Resolve the host, once for a whole run.

        Raises:
            TargetUnreachable: it has no address.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as err:
            raise TargetUnreachable(self.url, err.strerror or str(err)) from None
        family, _, _, _, address = found[0]
        return family, address

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what checks the certificate (SSL_CERT_FILE names authorities of your own); None without TLS."""
        return ssl.create_default_context() if self.tls else None

    def probe(self, user_id: str = "probe", product_ids: Sequence[str] = ("probe",)) -> str:
        """Ask for one ranking, and return the tag of the model that made it; empty when the service does not say.

        Raises:
            TargetUnreachable: nobody answers.
            TargetRefuses: the status is not 200.
        """
        body = json.dumps({"requestId": "probe", "userId": user_id, "productIds": list(product_ids)}).encode()
        context = self.tls_context()
        if context is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=PROBE_TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=PROBE_TIMEOUT_S, context=context)
        try:
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as err:
            reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
            raise TargetUnreachable(self.url, reason) from None
        finally:
            connection.close()
        # An unknown user may be refused by policy, which says as well that a ranker answers.
        if answer.status not in (200, 404) or (answer.status == 404 and "unknown_user" not in text):
            raise TargetRefuses(self.url, answer.status, text)
        return answer.headers.get("X-Ranker-Model", "")
