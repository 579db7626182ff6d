"""Feature-log destination: a folder, or a stream in Redis. Owns what a setting may say of it; opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from ranker.redis import url as address

PREFIX = "stream:"


@dataclass(frozen=True)
class Folder:
    """A folder of files."""

    path: Path

    @property
    def where(self) -> str:
        """Say where it is."""
        return str(self.path)


@dataclass(frozen=True)
class Stream:
    """A stream: the server's URL, and the key."""

    url: str = field(repr=False)
    key: str

    @property
    def where(self) -> str:
        """Say where it is, without what is secret in the URL."""
        return f"the stream {self.key} at {address.parse(self.url).where}"


Destination = Folder | Stream


def parse(text: str, own_redis_url: str) -> Destination:
    """Read a folder's path, `stream:KEY`, or a Redis URL with `?stream=KEY`.

    Args:
        text: As it was set.
        own_redis_url: The server of `stream:KEY`.

    Raises:
        ValueError: It is none of these; the message quotes nothing of it, for it may hold a password.
    """
    if text.startswith(PREFIX) and "://" not in text:
        if text == PREFIX:
            raise ValueError("behind stream: comes the stream's key")
        return Stream(own_redis_url, text.removeprefix(PREFIX))
    if "://" not in text:
        return Folder(Path(text))
    before, _, query = text.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in options if name != "stream"])
    url = f"{before}?{rest}" if rest else before
    address.parse(url)
    keys = [value for name, value in options if name == "stream" and value]
    if len(keys) != 1:
        raise ValueError("a Redis URL has to name one stream: redis://HOST:PORT/0?stream=KEY")
    return Stream(url, keys[0])
