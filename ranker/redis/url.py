"""Redis URL: one server, the primary that Sentinels name, or a Cluster; where, and with which options.

`redis://`, `rediss://` and `unix://` are redis-py's. Ranker adds `redis+cluster://HOST:PORT,HOST:PORT` and
`redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB`, both with `rediss+` for TLS. Behind the `?` stand redis-py's options,
and Ranker's own: `auth=entra` takes tokens of Microsoft Entra ID in place of user and password, and
`fixed_hostname=yes` reaches every node of a Cluster at the URL's first host, by the port that it announces.
Owns that grammar; opens nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

Kind = Literal["single", "cluster", "sentinel"]
Host = tuple[str, int]
Auth = Literal["entra"]

KINDS: dict[str, Kind] = {"": "single", "cluster": "cluster", "sentinel": "sentinel"}
PORTS: dict[Kind, int] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
"""Options behind the `?` that are for the Sentinels, which have users of their own."""
OWN_OPTIONS = (*SENTINEL_OPTIONS, "auth", "fixed_hostname")
"""Options that redis-py is not given."""


_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
"""RFC 3986, appendix B. `urlsplit` refuses a host before a bracket, as in a list of hosts."""


class _Split(NamedTuple):
    scheme: str
    netloc: str
    path: str
    query: str


@dataclass(frozen=True)
class Address:
    """A Redis URL, taken apart.

    Attributes:
        kind: What is to be found there.
        hosts: Any nodes of the Cluster, or the Sentinels; none for one server.
        service: What the Sentinels call the primary; None where the URL does not say.
        sentinel_options: User and password for the Sentinels, as redis-py names them.
        auth: Where credentials come from that the URL does not hold; None where it does, or none are needed.
        fixed_hostname: Whether all nodes of the Cluster are behind one name, each at its port.
    """

    kind: Kind
    hosts: tuple[Host, ...] = ()
    service: str | None = None
    sentinel_options: dict[str, str] = field(default_factory=dict, repr=False)
    auth: Auth | None = None
    fixed_hostname: bool = False
    url: str = field(default="", repr=False)
    """As redis-py takes it; of several hosts, the first."""
    _pattern: tuple[str, str] = field(default=("", ""), repr=False)

    def at(self, host: Host) -> str:
        """Return the URL of one of several servers, with the credentials and options that all have in common."""
        before, after = self._pattern
        return f"{before}{format_host(host)}{after}"

    def reached(self, announced: Host) -> Host:
        """Return where a node of the Cluster is reached that announces itself as this."""
        return (self.hosts[0][0], announced[1]) if self.fixed_hostname else announced

    @property
    def where(self) -> str:
        """Say what is meant, without what is secret in a URL."""
        if self.kind == "single":
            split = urlsplit(self.url)
            if split.scheme == "unix":
                return unquote(split.path)
            return format_host((unquote(split.hostname or "localhost"), _port(split.netloc, PORTS[self.kind])))
        return f"the {'Cluster' if self.kind == 'cluster' else 'Sentinels'} {', '.join(map(format_host, self.hosts))}"

    @property
    def as_cluster(self) -> str:
        """Say how the Cluster is written that one server is a node of, without what is secret."""
        scheme = urlsplit(self.url).scheme
        return "redis+cluster://HOST:PORT" if scheme == "unix" else f"{scheme}+cluster://{self.where}"


def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: It is none of these; the message quotes nothing of it, for it may hold a password.
    """
    split = _Split(*_URL.fullmatch(url).groups(""))  # type: ignore[union-attr] # it matches any text
    scheme, _, suffix = split.scheme.lower().partition("+")
    if scheme not in ("redis", "rediss", "unix") or suffix not in KINDS or (scheme == "unix" and suffix):
        raise ValueError(
            "a Redis URL begins with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// (or "
            "rediss+… for TLS)"
        )
    kind = KINDS[suffix]
    options = parse_qsl(split.query, keep_blank_values=True)
    auth, fixed_hostname = _own_options(dict(options), kind, scheme, "@" in split.netloc)
    query = _query([(name, value) for name, value in options if name not in OWN_OPTIONS])
    if kind == "single":
        if scheme != "unix":
            _port(split.netloc, PORTS[kind])
        return Address(kind, auth=auth, url=url if auth is None else f"{scheme}://{split.netloc}{split.path}{query}")
    credentials, at, listed = split.netloc.rpartition("@")
    hosts = tuple(_host(each, PORTS[kind]) for each in listed.split(",") if each)
    if not hosts:
        raise ValueError("it names no host")
    of_sentinels = {name.removeprefix("sentinel_"): value for name, value in options if name in SENTINEL_OPTIONS}
    path = split.path.strip("/").split("/") if split.path.strip("/") else []
    service: str | None = None
    if kind == "sentinel":
        if not path:
            raise ValueError(
                "behind the Sentinels comes what they call the primary: redis+sentinel://HOST:PORT/SERVICE"
            )
        service, *path = map(unquote, path)
    database = "/".join(path) or "0"
    if not database.isdigit() or (kind == "cluster" and database != "0"):
        raise ValueError("a Cluster has database 0 alone" if kind == "cluster" else "the database is no number")
    before = f"{scheme}://{credentials}{at}"
    first = f"{before}{format_host(hosts[0])}/{database}{query}"
    # One node's URL is read here again, so it keeps what only Ranker understands.
    alone = _query([(name, value) for name, value in options if name not in OWN_OPTIONS or name == "auth"])
    return Address(kind, hosts, service, of_sentinels, auth, fixed_hostname, first, (before, f"/{database}{alone}"))


def format_host(host: Host) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _own_options(options: dict[str, str], kind: Kind, scheme: str, has_credentials: bool) -> tuple[Auth | None, bool]:
    auth, fixed = options.get("auth"), options.get("fixed_hostname")
    if fixed is not None and (fixed not in ("yes", "no") or kind != "cluster"):
        raise ValueError("fixed_hostname is yes or no, and for a Cluster alone")
    if auth is None:
        return None, fixed == "yes"
    if auth != "entra":
        raise ValueError("auth is entra, or left out")
    if scheme != "rediss":
        raise ValueError("auth=entra needs TLS (rediss://), for its tokens are passwords")
    if has_credentials:
        raise ValueError("auth=entra takes the place of user and password: name the host alone")
    return "entra", fixed == "yes"


def _query(options: list[tuple[str, str]]) -> str:
    return f"?{urlencode(options)}" if options else ""


def _host(text: str, port: int) -> Host:
    split = urlsplit(f"//{text}")
    return split.hostname or "localhost", _port(text, port)


def _port(netloc: str, port: int) -> int:
    try:
        return urlsplit(f"//{netloc}").port or port
    except ValueError:  # its message may quote the password, up to a character that ends the host
        raise ValueError("the port is no port; special characters of a password are written as %XX") from None
