"""Entra ID credentials: tokens that change while they are used, had from redis-entraid.

A thread asks for them, for the libraries behind them wait on the network, which an event loop must not. A connection is
given those of the moment when it opens, and AUTH with the next ones before the first expire. Owns that knowledge; what
is sent when, `connection` and `invalidation` decide.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import cache

from redis.credentials import CredentialProvider, StreamingCredentialProvider
from redis.exceptions import AuthenticationError

from ranker.errors import EntraPackageMissing, StoreUnavailable
from ranker.process.background import Surprises
from ranker.redis.url import Auth

SCOPE = "https://redis.azure.com/.default"
ASK_S = 30.0
"""Interval at which the provider is asked. azure-identity answers from its cache until some five minutes before a token
expires, and a connection should have the next one three minutes before
(https://learn.microsoft.com/azure/redis/entra-for-authentication). redis-entraid tells of tokens it has renewed, but
gives up renewing at the first error, so it is not relied upon."""
RETRY_S = 2.0
"""Interval at which the provider is asked again after an error."""
FIRST_S = 60.0
"""Time that a start waits for the first answer; the libraries give up earlier."""
Credentials = tuple[str, ...]


class Login(CredentialProvider):
    """Login of this process: the credentials of the moment; ask for `Handed` ones, a connection each.

    Args:
        make_provider: Where they come from; called and asked in a thread alone.
    """

    def __init__(self, make_provider: Callable[[], CredentialProvider]) -> None:
        self.current: Credentials | None = None
        self._reason = "none has been given yet"
        self._asked = threading.Event()
        self._due = threading.Event()
        threading.Thread(target=self._keep, args=(make_provider(),), name="credentials", daemon=True).start()

    def get_credentials(self) -> Credentials:  # type: ignore[override] # redis-py says one or two, which this is
        """Return the credentials; wait for the first answer, `FIRST_S` at most.

        Raises:
            AuthenticationError: redis-py's; there are none.
        """
        self._asked.wait(FIRST_S)
        return self._known()

    async def get_credentials_async(self) -> Credentials:  # type: ignore[override] # as above
        """Do what `get_credentials` does; whoever connects bounds the wait."""
        while not self._asked.is_set():  # noqa: ASYNC110 # a thread sets it
            await asyncio.sleep(0.01)
        return self._known()

    def _known(self) -> Credentials:
        if self.current is None:
            raise AuthenticationError(f"no token of Entra ID: {self._reason}")
        return self.current

    def _keep(self, provider: CredentialProvider) -> None:
        surprises = Surprises("credentials")
        if isinstance(provider, StreamingCredentialProvider):
            try:
                provider.on_next(lambda _: self._due.set())
                provider.on_error(lambda _: self._due.set())
            except Exception as err:  # it is asked every `ASK_S`, too
                surprises.note(err)
        while True:
            self._due.clear()
            try:
                self.current = tuple(provider.get_credentials())
                wait_s = ASK_S
            except Exception as err:  # of any of the libraries; connections say it, and it may pass
                self._reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
                wait_s = RETRY_S
            self._asked.set()
            self._due.wait(wait_s)


class Handed(CredentialProvider):
    """Credentials that one connection was given, and those it needs when they are no longer what is known."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._given: Credentials | None = None

    async def get_credentials_async(self) -> Credentials:  # type: ignore[override] # redis-py says one or two
        """Return the credentials for a connection that opens."""
        self._given = await self._login.get_credentials_async()
        return self._given

    def take_renewal(self) -> tuple[str, ...] | None:
        """Return the AUTH to send before anything else; None while what was given is what is known."""
        known = self._login.current
        if known is None or known == self._given:
            return None
        self._given = known
        return ("AUTH", *known)


@cache
def make_login(auth: Auth) -> Login:
    """Return what this process logs in with; one for all connections.

    Raises:
        EntraPackageMissing: the extra is not installed.
    """
    assert auth == "entra"
    try:
        from redis_entraid.cred_provider import create_from_default_azure_credential
    except ImportError as err:
        raise EntraPackageMissing(str(err)) from None
    return Login(lambda: create_from_default_azure_credential((SCOPE,)))


def log_in(auth: Auth) -> None:
    """Wait for the first credentials, so that no connection has to.

    Raises:
        StoreUnavailable: there are none.
        EntraPackageMissing: as `make_login`.
    """
    try:
        make_login(auth).get_credentials()
    except AuthenticationError as err:
        raise StoreUnavailable(str(err)) from err
