"""Redis URL: one server, the primary that Sentinels name, or a Cluster; where, and with which options.

`redis://`, `rediss://` and `unix://` are redis-py's. Ranker adds `redis+cluster://HOST:PORT,HOST:PORT` and
`redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB`, both with `rediss+` for TLS. Behind the `?` stand redis-py's options,
and Ranker's own: `auth=entra` takes tokens of Microsoft Entra ID in place of user and password, and
`fixed_hostname=yes` reaches every node of a Cluster at the URL's first host, by the port that it announces.
Owns that grammar; opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypedDict
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

Kind = Literal["single", "cluster", "sentinel"]
Host = tuple[str, int]
Place = tuple[str, int | None]
Auth = Literal["entra"]

KINDS: dict[str, Kind] = {"": "single", "cluster": "cluster", "sentinel": "sentinel"}
PORTS: dict[Kind, int] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_ssl")
"""Options behind the `?` that are for the Sentinels alone, as is what begins with `sentinel_ssl_`."""
OWN_OPTIONS = ("auth", "fixed_hostname", "address_remap")
"""Options that redis-py is not given."""
REPLY_OPTIONS = ("decode_responses", "encoding", "encoding_errors", "protocol", "legacy_responses")
"""Those that change what replies are. Values are bytes and ids UTF-8, whatever other readers of the same URL want."""


_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
"""RFC 3986, appendix B. `urlsplit` refuses a host before a bracket, as in a list of hosts."""


class _Split(NamedTuple):
    scheme: str
    netloc: str
    path: str
    query: str


class _Own(TypedDict):
    auth: Auth | None
    fixed_hostname: bool
    address_remap: dict[Place, Place]


@dataclass(frozen=True)
class Address:
    """A Redis URL, taken apart.

    Attributes:
        kind: What is to be found there.
        hosts: Any nodes of the Cluster, or the Sentinels; none for one server.
        service: What the Sentinels call the primary; None where the URL does not say.
        auth: Where credentials come from that the URL does not hold; None where it does, or none are needed.
        fixed_hostname: Whether all nodes of the Cluster are behind one name, each at its port.
        address_remap: Where servers are reached, by the address that a Cluster or Sentinels announce; with the port
            None in both, at whatever port.
    """

    kind: Kind
    hosts: tuple[Host, ...] = ()
    service: str | None = None
    auth: Auth | None = None
    fixed_hostname: bool = False
    address_remap: Mapping[Place, Place] = field(default_factory=dict)
    url: str = field(default="", repr=False)
    """As redis-py takes it; of several hosts, the first."""
    sentinel_url: str = field(default="", repr=False)
    """The first Sentinel's, with credentials and TLS of the Sentinels; empty where there are none."""
    _pattern: tuple[str, str] = field(default=("", ""), repr=False)

    def at(self, host: Host) -> str:
        """Return the URL of one of several servers, with the credentials and options that all have in common."""
        before, after = self._pattern
        return f"{before}{format_host(host)}{after}"

    def reached(self, announced: Host) -> Host:
        """Return where a server is reached that a Cluster or Sentinels announce as this."""
        name, port = announced
        if self.fixed_hostname:
            return self.hosts[0][0], port
        remap, known = self.address_remap, name.lower()  # as names of hosts are read from a URL
        there = remap.get((known, port)) or remap.get((known, None)) or announced
        return there[0], there[1] or port

    @property
    def is_remapped(self) -> bool:
        """Whether `reached` is ever another address than what is announced."""
        return self.fixed_hostname or bool(self.address_remap)

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
    own = _own_options(dict(options), kind, scheme, "@" in split.netloc)
    for_servers = [(name, value) for name, value in options if not _is_own(name) and name not in REPLY_OPTIONS]
    query = _query(for_servers)
    if kind == "single":
        if scheme != "unix":
            _port(split.netloc, PORTS[kind])
            database = unquote(split.path).strip("/") or "0"
            if not database.isdigit():  # redis-py would take database 0, and 12 for 1/2
                raise ValueError("the database is no number; special characters of a password are written as %XX")
        kept = for_servers == options
        return Address(kind, url=url if kept else f"{scheme}://{split.netloc}{split.path}{query}", **own)
    credentials, at, listed = split.netloc.rpartition("@")
    hosts = tuple(_host(each, PORTS[kind]) for each in listed.split(",") if each)
    if not hosts:
        raise ValueError("it names no host")
    service, database = _read_path(split.path.strip("/"), kind, dict(options).get("db", "0"))
    before = f"{scheme}://{credentials}{at}"
    # One node's URL is read here again, so it keeps what only Ranker understands.
    alone = _query([*for_servers, *((name, value) for name, value in options if name == "auth")])
    return Address(
        kind,
        hosts,
        service,
        url=f"{before}{format_host(hosts[0])}/{database}{query}",
        sentinel_url=_sentinel_url(scheme, hosts[0], options) if kind == "sentinel" else "",
        _pattern=(before, f"/{database}{alone}"),
        **own,
    )


def _read_path(path: str, kind: Kind, otherwise: str) -> tuple[str | None, str]:
    """Return what the Sentinels call the primary, None for a Cluster, and the database, which may be left out."""
    service: str | None = None
    rest = path.split("/") if path else []
    if kind == "sentinel":
        if not rest:
            raise ValueError(
                "behind the Sentinels comes what they call the primary: redis+sentinel://HOST:PORT/SERVICE"
            )
        service, *rest = map(unquote, rest)
    database = "/".join(rest) or otherwise
    if not database.isdigit() or (kind == "cluster" and database != "0"):
        raise ValueError("a Cluster has database 0 alone" if kind == "cluster" else "the database is no number")
    return service, database


def format_host(host: Host) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _is_own(name: str) -> bool:
    return name in OWN_OPTIONS or name in SENTINEL_OPTIONS or name.startswith("sentinel_ssl_")


def _own_options(options: dict[str, str], kind: Kind, scheme: str, has_credentials: bool) -> _Own:
    auth, fixed, remap = options.get("auth"), options.get("fixed_hostname"), options.get("address_remap")
    if fixed is not None and (fixed not in ("yes", "no") or kind != "cluster"):
        raise ValueError("fixed_hostname is yes or no, and for a Cluster alone")
    if remap is not None and (kind == "single" or fixed == "yes"):
        raise ValueError("address_remap is for a Cluster or Sentinels alone, and without fixed_hostname")
    own = _Own(fixed_hostname=fixed == "yes", auth=None, address_remap=_remap(remap or ""))
    if auth is None:
        return own
    if auth != "entra":
        raise ValueError("auth is entra, or left out")
    if scheme != "rediss":
        raise ValueError("auth=entra needs TLS (rediss://), for its tokens are passwords")
    if has_credentials:
        raise ValueError("auth=entra takes the place of user and password: name the host alone")
    own["auth"] = "entra"
    return own


def _remap(text: str) -> dict[Place, Place]:
    places: dict[Place, Place] = {}
    for each in filter(None, text.split(",")):
        announced, _, reached = (_place(part) for part in each.partition("="))
        if not announced[0] or not reached[0] or (announced[1] is None) != (reached[1] is None):
            raise ValueError(
                "address_remap is a list of ANNOUNCED=REACHED, both HOST:PORT or both HOST, separated by commas"
            )
        places[announced] = reached
    return places


def _place(text: str) -> Place:
    name, port = _host(text, 0)
    return (name, port or None) if text else ("", None)


def _sentinel_url(scheme: str, host: Host, options: list[tuple[str, str]]) -> str:
    """Return a Sentinel's URL: credentials of its own, and TLS as the servers have it, unless options say otherwise."""
    given = {name: value for name, value in options if name in SENTINEL_OPTIONS or name.startswith("sentinel_ssl_")}
    secure = given.pop("sentinel_ssl", "yes" if scheme == "rediss" else "no")
    if secure not in ("yes", "no"):
        raise ValueError("sentinel_ssl is yes or no")
    own = {name.removeprefix("sentinel_"): value for name, value in given.items()}
    if secure == "no":
        if any(name.startswith("ssl_") for name in own):
            raise ValueError(
                "Sentinels without TLS take no sentinel_ssl_ options; add sentinel_ssl=yes, or leave them out"
            )
        return f"redis://{format_host(host)}{_query(list(own.items()))}"
    as_data = {name: value for name, value in options if name.startswith("ssl_")} if scheme == "rediss" else {}
    return f"rediss://{format_host(host)}{_query(list((as_data | own).items()))}"


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
