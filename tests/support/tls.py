"""A private authority, and a Redis that speaks TLS: Debian's, for the embedded one is built without."""

from __future__ import annotations

import os
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from tests.support.sentinels import Software


@dataclass(frozen=True)
class Authority:
    """Certificates of one authority as files: a server's, for some names, and a client's."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Authority:
        folder.mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for role, issued in (("server", authority.issue_cert(*names)), ("client", authority.issue_cert("client.shop"))):
            issued.private_key_pem.write_to_path(str(folder / f"{role}.key"))
            for pem in issued.cert_chain_pems:
                pem.write_to_path(str(folder / f"{role}.pem"), append=True)
        return cls(folder)

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def trusted(self) -> dict[str, str]:
        """Options of a URL that trusts this authority."""
        return {"ssl_ca_certs": self.ca}

    @property
    def known(self) -> dict[str, str]:
        """Options of a URL that shows a certificate of its own as well."""
        return self.trusted | {
            "ssl_certfile": str(self.folder / "client.pem"),
            "ssl_keyfile": str(self.folder / "client.key"),
        }

    def server_context(self) -> ssl.SSLContext:
        """Return what a server of ours shows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context

    def software(self) -> Software:
        """Return a Redis that speaks TLS alone, asks clients for certificates, and its peers by TLS as well."""
        options = {
            "tls-cert-file": self.folder / "server.pem",
            "tls-key-file": self.folder / "server.key",
            "tls-ca-cert-file": self.ca,
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
            "tls-cluster": "yes",
        }
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        client = {"ssl": True, "ssl_check_hostname": False, **self.known}
        return Software(_executable(), words, client, "tls-port")


def with_options(url: str, options: dict[str, str]) -> str:
    """Return a URL of the kind with TLS, with options behind it."""
    return f"{url.replace('redis', 'rediss', 1)}?{urlencode(options)}"


def _executable() -> str:
    # One file goes by both names, and is a server when it is called by that.
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI has to have a Redis with TLS (Debian's package redis-tools)")
    if found is None:
        pytest.skip("no Redis with TLS is installed (Debian's package redis-tools)")
    return found
