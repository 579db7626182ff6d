"""Tokens of Entra ID that are renewed while connections are open: redis-entraid's own provider, without Azure."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis_entraid.cred_provider
import trustme
from redis.auth.err import RequestTokenErr
from redis.auth.idp import IdentityProviderInterface
from redis.auth.token import JWToken
from redis.auth.token_manager import RetryPolicy, TokenManagerConfig
from redis_entraid.cred_provider import EntraIdCredentialsProvider

from ranker.errors import EntraPackageMissing, StoreUnavailable, StoreUnreachable
from ranker.redis import connect as access
from ranker.redis.clients import connect
from ranker.redis.wire import entra as credentials
from ranker.serving.preflight import check_redis
from ranker.settings.environment import Settings
from ranker.vectors.rows import ProductId, UserId
from tests.support.near_cache import near
from tests.support.pages import rights
from tests.support.proxy import FaultProxy
from tests.support.redis_process import Server
from tests.support.sample import eventually, product_vector, run, user_vector

USER = "0b1c-object-id"


class Tenant(IdentityProviderInterface):
    """Gives tokens that a server's user has as passwords, in the place of Azure."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._issued = 0
        self.token = ""
        self.fails = False
        self.renew()

    def renew(self) -> str:
        """Issue the next token; return the one before, which the server still takes."""
        before = self.token
        self._issued += 1
        claims = {"oid": USER, "exp": int(time.time()) + 3600, "jti": self._issued}
        self.token = jwt.encode(claims, "a key that nobody has to know, for nobody looks", algorithm="HS256")
        rules = [rule for rule in rights("ranker")[0] if not rule.startswith(">")]
        with self._server.client() as admin:
            admin.execute_command("ACL", "SETUSER", USER, f">{self.token}", *rules)
        return before

    def expire(self, token: str) -> None:
        with self._server.client() as admin:
            admin.execute_command("ACL", "SETUSER", USER, f"<{token}")

    def request_token(self, force_refresh: bool = False) -> Any:
        if self.fails:
            raise RequestTokenErr("AADSTS7000215: no such secret")
        return JWToken(self.token)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server.running() as made:
        with made.client() as admin:
            admin.mset({"product:a": product_vector(1), "user:u": user_vector(1)})
        yield made


@pytest.fixture
def tenant(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenant]:
    made = Tenant(server)
    config = TokenManagerConfig(0.7, 0, 100, RetryPolicy(1, 1))
    monkeypatch.setattr(
        redis_entraid.cred_provider,
        "create_from_default_azure_credential",
        lambda scopes: EntraIdCredentialsProvider(made, config),
    )
    monkeypatch.setattr(credentials, "ASK_S", 0.1)
    monkeypatch.setattr(credentials, "RETRY_S", 0.1)
    credentials.make_login.cache_clear()
    yield made
    credentials.make_login.cache_clear()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, f"?ssl_ca_certs={tmp_path / 'ca.pem'}&auth=entra"


def logins(server: Server) -> int:
    with server.client() as admin:
        return int(admin.info("commandstats").get("cmdstat_auth", {"calls": 0})["calls"])


def test_connections_stay_open_and_told_when_the_token_is_renewed(
    server: Server, tenant: Tenant, certificate: tuple[ssl.SSLContext, str]
) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket, certificate[0]) as proxy:
            url = proxy.url + certificate[1]
            connections = access.connect(url, size=1, timeout_s=2.0)
            store = near(url, connections=connections)
            await store.open()
            await eventually(lambda: store.keeping)
            losses = 0

            async def price() -> float:
                nonlocal losses
                losses += not store.keeping
                return float((await store.fetch(UserId("u"), [ProductId("a")])).products.values[0, 0])

            assert await price() == 1
            for value in (2, 3):
                before, opened = logins(server), connections.opened
                old = tenant.renew()
                # The invalidation connection's comes by itself, the reading one's with the next question.
                await eventually(lambda n=before: logins(server) == n + 1)
                told = store.invalidations
                with server.client() as admin:
                    admin.set("product:a", product_vector(value))
                await eventually(lambda n=told: store.invalidations > n)
                assert await price() == value
                assert logins(server) == before + 2
                assert connections.opened == opened
                tenant.expire(old)
            assert not losses
            # What opens later has the token of then.
            with server.client() as admin:
                admin.client_kill_filter(_type="normal", skipme=True)
            await eventually(lambda: store.keeping)
            assert await price() == 3
            await store.close()

    run(test)


def test_token_that_cannot_be_had_says_why_and_is_asked_for_again(
    server: Server, tenant: Tenant, certificate: tuple[ssl.SSLContext, str]
) -> None:
    tenant.fails = True
    with pytest.raises(StoreUnreachable, match=r"no token of Entra ID: .*AADSTS7000215"):
        check_redis(Settings(redis_url=f"rediss://127.0.0.1:1{certificate[1]}"))

    async def test() -> None:
        async with FaultProxy(server.socket, certificate[0]) as proxy:
            connections = access.connect(proxy.url + certificate[1], size=1, timeout_s=2.0)
            with pytest.raises(StoreUnavailable, match=r"no token of Entra ID: .*AADSTS7000215"):
                await connections.mget(["product:a"])
            tenant.fails = False
            await eventually(lambda: not connections.breaker.is_open)
            assert await connections.mget(["product:a"]) == [product_vector(1)]
            await connections.close()
            with server.client() as admin:
                admin.execute_command("ACL", "SETUSER", USER, "+@read", "+@connection")
            client = await asyncio.to_thread(connect, proxy.url + certificate[1])  # as the loader does
            assert await asyncio.to_thread(client.get, "product:a") == product_vector(1)
            client.close()

    run(test)


def test_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis_entraid.cred_provider", None)
    credentials.make_login.cache_clear()
    with pytest.raises(EntraPackageMissing, match=r"ranker\[entra\]"):
        check_redis(Settings(redis_url="rediss://127.0.0.1:1?auth=entra"))
