"""Quotation marks of a CSV file: refuses a field that swallows rows, because a mark in it is none of the format's.

pyarrow, as most readers, takes all up to the next mark for one field, line breaks too. Where that mark stands in the
middle of a field, the first one did not open it, and the rows between would be gone without a word.
"""

from __future__ import annotations

import re

LONGEST = 2 << 20
"""Bytes of a field that are kept to look for its end; a longer row is refused by the reader."""


class QuoteCheck:
    """Looks at a file as it is read, in pieces of any size.

    Args:
        delimiter: What stands between fields, in UTF-8.
    """

    def __init__(self, delimiter: bytes) -> None:
        end = b"[\r\n" + re.escape(delimiter) + b"]"
        body = rb'[^"]*(?:""[^"]*)*'
        self._sound = re.compile(
            rb'(?:[^"]++|(?<!' + end + rb')"|"' + body + rb'"(?=' + end + rb')|"[^"\r\n]*(?:""[^"\r\n]*)*"(?=[^"]))*+'
        )
        self._field = re.compile(rb'"' + body + rb'"(?!")')
        self._rest: bytes | None = b"\n"  # as if a line had ended before the first
        self._line = 1

    def find(self, piece: bytes) -> int | None:
        """Return the line, from 1, on which a field begins that swallows rows; None for none so far."""
        if self._rest is None:
            return None
        data = self._rest + piece
        sound = self._sound.match(data)  # of nothing, at least
        at = 0 if sound is None else sound.end()
        field = self._field.match(data, at)
        if field is not None and field.end() < len(data):
            return self._line + data.count(b"\n", 1, at)
        kept = max(at - 1, 0)  # the byte before says whether a field begins here
        self._line += data.count(b"\n", 1, kept + 1)
        self._rest = data[kept:]
        if len(self._rest) > LONGEST:
            self._rest = None
        return None
