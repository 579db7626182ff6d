"""Loopback client: asks a server, a few requests at a time, for ever: `python client.py PORT IN_FLIGHT < BODIES`.

A program of its own, so that what it spends is not the server's, nor its lock. One body a line, asked in turn, until it
is ended. Imports nothing but the standard library, to start quickly; ends with 1 at the first answer that is no 200.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
from itertools import cycle

HEAD = "POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def main(port: int, in_flight: int, bodies: list[bytes]) -> int:
    """Ask until the server hangs up or answers with an error."""
    requests = cycle([HEAD.format(len(body)).encode() + body for body in bodies])
    selector = selectors.DefaultSelector()
    received: dict[socket.socket, bytes] = {}
    for _ in range(in_flight):
        connection = socket.create_connection(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = b""
        connection.sendall(next(requests))
    while True:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]  # a socket is what was registered
            part = connection.recv(1 << 16)
            received[connection] += part
            head, found, body = received[connection].partition(b"\r\n\r\n")
            if not part or (found and not head.startswith(b"HTTP/1.1 200")):
                return 1
            length = LENGTH.search(head)
            if found and length and len(body) >= int(length[1]):
                received[connection] = b""
                connection.sendall(next(requests))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer.read().splitlines()))
