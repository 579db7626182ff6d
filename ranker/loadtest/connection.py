"""Non-blocking HTTP connection, kept alive, plain or TLS: one request at a time on it.

Owns the socket and the parsing of answers; must not know of rates. It says what it waits for, and its owner calls
`proceed` when that has happened.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl

import httptools

from ranker.loadtest.target import Address

RECEIVE_BYTES = 1 << 16
"""Bytes received at a time. Buffers of twice that come from the kernel and go back to it, for each answer: 20 us."""


class ConnectionBroken(Exception):
    """The connection cannot be used any more."""


class Connection:
    """One connection, and the request on it.

    Args:
        address: Where to.
        context: What TLS asks for; None without TLS.
        host: Whom the certificate must name.

    Attributes:
        interest: What is waited for, as the selectors know it.
        busy: Whether a request is on it.
        answered: Whether it has carried an answer before.
        reusable: Whether the service keeps it open after the answer.
        intended: When the request should have left, on the performance counter.
        request: The bytes of the request.
    """

    def __init__(self, address: Address, context: ssl.SSLContext | None, host: str) -> None:
        family, where = address
        self._context, self._host = context, host
        self._sock: socket.socket = socket.socket(family, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.connect_ex(where)  # what becomes of it is seen when it is writable
        self._connected = self._open = False
        self._unsent = memoryview(b"")
        self._complete = False
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self.interest = selectors.EVENT_WRITE
        self.busy = self.answered = self.reusable = False
        self.intended = 0.0
        self.request = b""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def status(self) -> int:
        """The answer's status."""
        return self._parser.get_status_code()

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return b"".join(self._parts)

    @property
    def started_answering(self) -> bool:
        """Whether anything of an answer's body has come."""
        return bool(self._parts)

    def begin(self, request: bytes, intended: float) -> None:
        """Put a request on it, and send it if it is open.

        Raises:
            ConnectionBroken: it is of no use.
        """
        self.busy, self.request, self.intended = True, request, intended
        self._unsent, self._complete = memoryview(request), False
        self._parts.clear()
        if self._open:
            self._guarded()

    def proceed(self) -> bool:
        """Do what can be done without waiting; return whether the answer is whole.

        Raises:
            ConnectionBroken: it is of no use.
        """
        self._guarded()
        return self._complete

    def end(self) -> None:
        """Take the answered request off it."""
        self.busy, self.answered = False, True

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the answer; called by the parser."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Note that the answer is whole; called by the parser, which knows only now whether the connection is kept."""
        self._complete, self.reusable = True, self._parser.should_keep_alive()

    def _guarded(self) -> None:
        try:
            self._step()
        except ssl.SSLWantReadError:
            self.interest = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.interest = selectors.EVENT_WRITE
        except BlockingIOError:
            self.interest = selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as err:
            raise ConnectionBroken(str(err)) from err

    def _step(self) -> None:
        if not self._open:
            self._establish()
        if self._unsent:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            self.interest = selectors.EVENT_READ
            return
        while not self._complete:
            data = self._sock.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionBroken("the service hung up")
            self._parser.feed_data(data)

    def _establish(self) -> None:
        if not self._connected:
            if code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise ConnectionBroken(os.strerror(code))
            self._connected = True
            if self._context is not None:
                # Only now: a socket that is not connected yet would be wrapped without a TLS object.
                self._sock = self._context.wrap_socket(
                    self._sock, server_hostname=self._host, do_handshake_on_connect=False
                )
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.do_handshake()
        self._open = True
