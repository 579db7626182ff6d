"""Key template of a group: the text of a key, and the values that are put into it.

Owns how a template is read, and which values it may name. Knows neither features nor Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import NamedTuple, Self

PLACES = "{userId}, {productId}, {context.NAME}, {user.FEATURE} or {product.FEATURE}"
_PLACE = re.compile(r"\{([^{}]*)\}")
_NAMED = re.compile(r"(context|user|product)\.(.+)", re.DOTALL)
Texts = Sequence[str | None]
"""What stands for one value in n keys; None where there is no value, and so no key."""


class Place(NamedTuple):
    """A value in a key.

    Attributes:
        of: `userId`, `productId`, or whose feature it is: `context`, `user` or `product`.
        feature: The feature's name; empty for an id.
    """

    of: str
    feature: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether it is known only once the user, or the product, was read."""
        return self.of in ("user", "product")

    @property
    def is_of_product(self) -> bool:
        """Whether it differs between the products of a request."""
        return self.of in ("product", "productId")

    def __str__(self) -> str:
        return f"{{{self.of}.{self.feature}}}" if self.feature else f"{{{self.of}}}"


class KeyTemplate(NamedTuple):
    """A key with places for values.

    What stands between the first place and the last one is the *id* of a key: the same for all that share it.

    Attributes:
        before: The text before the first place.
        places: At least one.
        between: The texts between the places, one less than these.
        after: The text behind the last place.
    """

    before: str
    places: tuple[Place, ...]
    between: tuple[str, ...]
    after: str

    @classmethod
    def parse(cls, key: str) -> Self:
        """Read a template.

        Raises:
            ValueError: it names no value, or one that cannot be.
        """
        texts = _PLACE.split(key)
        literals, names = texts[::2], texts[1::2]
        if not names or any("{" in text or "}" in text for text in literals):
            raise ValueError(f"the key of a group names at least one value in braces: {PLACES}")
        return cls(literals[0], tuple(map(_place, names)), tuple(literals[1:-1]), literals[-1])

    @property
    def is_asked_late(self) -> bool:
        """Whether keys are known only once users and products were read."""
        return any(place.is_stored for place in self.places)

    def ids(self, texts: Sequence[Texts], n: int) -> list[str | None]:
        """Return the ids of n keys; None for one that lacks a value.

        Args:
            texts: Those of each place, in order.
            n: How many keys.
        """
        if len(texts) == 1:
            return list(texts[0])
        parts: list[Iterable[str | None]] = [texts[0]]
        for literal, values in zip(self.between, texts[1:], strict=True):
            parts += ([repeat(literal, n)] if literal else []) + [values]
        rows = zip(*parts, strict=False)  # what repeats has as many as are asked for
        return [None if None in row else "".join(row) for row in rows]

    def split(self, identifier: str) -> tuple[str, ...] | None:
        """Return the text of each place in an id; None for one whose texts cannot be told apart."""
        rest, texts = identifier, []
        for literal in self.between:
            if not literal or identifier.count(literal) != 1:
                return None
            text, found, rest = rest.partition(literal)
            if not found:
                return None
            texts.append(text)
        return (*texts, rest)

    def may_make(self, identifier: str, fits: Sequence[Callable[[str], bool]]) -> bool:
        """Return whether an id can be split so that the text in each place fits it.

        Args:
            identifier: The id.
            fits: Of each place, whether a text may stand in it.
        """
        if len(fits) == 1:
            return fits[0](identifier)
        *before, last = fits
        literal = self.between[len(before) - 1]
        ends = (end for end in range(len(identifier) - len(literal) + 1) if identifier.startswith(literal, end))
        return any(last(identifier[end + len(literal) :]) and self.may_make(identifier[:end], before) for end in ends)

    def join(self, texts: Sequence[str]) -> str:
        """Return the id that has these texts in its places."""
        return "".join([texts[0], *chain.from_iterable(zip(self.between, texts[1:], strict=True))])

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the places in a key that spells each `NAME={…}`, with commas between; None for another."""
        before = [self.before, *(literal.removeprefix(",") for literal in self.between)]
        spelled = all(literal.startswith(",") for literal in self.between) and not self.after
        return tuple(name[:-1] for name in before) if spelled and all(n.endswith("=") for n in before) else None


def _place(name: str) -> Place:
    if name in ("userId", "productId"):
        return Place(name)
    if found := _NAMED.fullmatch(name):
        return Place(found[1], found[2])
    if name == "id":
        raise ValueError("{id} is that of `user` and `product`; in the key of a group say {userId} or {productId}")
    raise ValueError(f"{{{name}}} is no value that the key of a group can have: it has {PLACES}")
