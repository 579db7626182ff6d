"""Nothing in the background ends for ever: whatever Redis says, and whatever goes wrong, is over when its cause is."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hiredis
import pytest
import trustme
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ranker.api.predict import PredictRequest
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.process import background
from ranker.redis.connect import connect
from ranker.serving.variant import ServedModel
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from ranker.vectors.rows import Matrix, ProductId, Scores, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.near_cache import near
from tests.support.proxy import HEALTHY, Fault, FaultProxy
from tests.support.redis_process import Server
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector

# A client that is just connecting when a test's loop ends may be torn from its socket.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

A = ProductId("a")
ODD = {
    "MOVED without arguments": b"-MOVED\r\n",
    "ASK without arguments": b"-ASK\r\n",
    "errors in a map, which ended the process": b"%1\r\n-ASK 9 :\r\n-MOVED\r\n",
    "an empty push": b">0\r\n",
    "a push of one word": b">1\r\n$10\r\ninvalidate\r\n",
    "a push of numbers": b">2\r\n:1\r\n:2\r\n",
    "a map with a list as its key": b"%1\r\n*1\r\n:1\r\n:2\r\n",
    "a map with a push as its key": b"%1\r\n>1\r\n:1\r\n:2\r\n",
    "a set of maps": b"~1\r\n%1\r\n:1\r\n:2\r\n",
    "nothing": b"_\r\n",
    "a huge length": b"*1000000000000\r\n",
    "what nobody asked for": b"+OK\r\n" * 40,
    "a refusal": b"-ERR unknown command\r\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.running() as made:
        made.store("user:u", user_vector(1))
        yield made
    gc.collect()  # while the warning about torn clients is ignored


async def price(store: CachedStore | RedisStore) -> float:
    features = await store.fetch(UserId("u"), [A])
    assert features.unread is None
    return float(features.products.values[0, 0])


def reason(store: CachedStore) -> str:
    """Return why nothing can be read now."""
    try:
        store.raise_if_down()
    except StoreUnavailable as err:
        return err.reason
    return ""


async def answers(store: CachedStore | RedisStore, value: float) -> None:
    """Wait until a value is read."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                if await price(store) == value:
                    return
            await asyncio.sleep(0.01)


async def whole(store: CachedStore, server: Server, value: float) -> None:
    """See that reads are answered, rows are kept, and changes noticed."""
    await eventually(lambda: store.keeping, 10)
    await asyncio.to_thread(server.store, "product:a", product_vector(value))
    await answers(store, value)
    await eventually(lambda: store.keeping, 10)
    await answers(store, value)
    await asyncio.to_thread(server.store, "product:a", product_vector(value + 1))
    await answers(store, value + 1)


@pytest.mark.parametrize("reply", ODD)
def test_reader_and_listener_outlive_any_reply(server: Server, reply: str) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = near(proxy.url, timeout_s=0.25)
            await store.open()
            await whole(store, server, 1)
            for fault in (Fault(mangle=ODD[reply]), Fault(answer=ODD[reply])):
                proxy.fault = fault
                store.clear()
                with pytest.raises(StoreUnavailable):
                    await price(store)
                proxy.cut()  # the listener too, whatever it has heard; and both see it on new connections
                await eventually(lambda: not store.keeping)
                await asyncio.sleep(0.3)  # some attempts of each
                proxy.fault = HEALTHY
                await whole(store, server, 3)
            await store.close()

    run(test, 60)


words = st.sampled_from(
    [b"invalidate", b"MOVED 1 127.0.0.1:1", b"MOVED", b"ASK 9 :", b"OK", b"PONG", b"a", b"\xff\x00"]
)
scalars = st.one_of(
    words.map(lambda w: b"+" + w + b"\r\n"),
    words.map(lambda w: b"-" + w + b"\r\n"),
    words.map(lambda w: b"$%d\r\n%s\r\n" % (len(w), w)),
    st.integers(-(2**70), 2**70).map(lambda n: b":%d\r\n" % n),
    st.sampled_from(
        [b"_\r\n", b"#t\r\n", b",1.5\r\n", b",nan\r\n", b"(12345678901234567890\r\n", b"$-1\r\n", b"*-1\r\n"]
    ),
)


def _nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    kinds = st.sampled_from([b"*", b">", b"~", b"%", b"|"])
    lists = st.lists(inner, max_size=4)
    return st.tuples(kinds, lists, st.integers(0, 1)).map(
        lambda t: t[0] + b"%d\r\n" % (len(t[1]) // (2 if t[0] in b"%|" else 1) + t[2]) + b"".join(t[1])
    )


def is_no_answer(reply: bytes) -> bool:
    """Whether one can tell it from one or two values, which a connection that is well may answer with for ever."""
    reader = hiredis.Reader()
    reader.feed(reply)
    try:
        first = reader.gets()
    except (hiredis.ProtocolError, TypeError, IndexError):
        return True
    return not (type(first) is list and len(first) in (1, 2) and {bytes, type(None)}.issuperset(map(type, first)))


replies = (
    st.lists(st.recursive(scalars, _nested, max_leaves=8) | st.binary(max_size=20), min_size=1, max_size=4)
    .map(b"".join)
    .filter(is_no_answer)
)


@given(reply=replies)
@settings(max_examples=80)
def test_any_reply_is_unavailable_to_readers_and_an_outage_to_listeners(server: Server, reply: bytes) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = near(proxy.url, timeout_s=0.1)
            await store.open()
            await eventually(lambda: store.keeping)
            proxy.fault = Fault(mangle=reply)
            proxy.cut("listening")
            for product in ("1", "2"):
                with suppress(StoreUnavailable):
                    await store.fetch(UserId("u"), [ProductId(product)])
            proxy.fault = HEALTHY
            await eventually(lambda: store.keeping, 10)
            await asyncio.to_thread(server.store, "product:a", product_vector(5))
            await answers(store, 5)
            await store.close()

    run(test, 30)


@given(reply=replies)
@example(reply=b">2\r\n+invalidate\r\n")  # takes the next announcement for its keys
@example(reply=b">2\r\n+a\r\n")
@settings(max_examples=60)
def test_any_bytes_between_announcements_are_an_outage_of_the_listener_that_ends(server: Server, reply: bytes) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = near(proxy.url)
            await store.open()
            await eventually(lambda: store.keeping)
            await asyncio.to_thread(server.store, "product:a", product_vector(4))
            await answers(store, 4)
            await eventually(lambda: store.invalidations > 0)
            await answers(store, 4)  # held now; the next announcement is of the 5
            proxy.inject(reply, on="listening")
            await asyncio.to_thread(server.store, "product:a", product_vector(5))
            await answers(store, 5)  # at once, or when the heartbeat is not answered
            await eventually(lambda: store.keeping)
            await store.close()

    run(test, 30)


def cluster_replies(port: int) -> st.SearchStrategy[bytes]:
    """Replies of a node: nonsense, and what nearly says who owns which slots."""
    hosts = st.sampled_from([b"127.0.0.1", b"", b"?", b"a b", b"[", b"h:1:2", b"\xff", b"localhost"])
    ports = st.sampled_from([port, 0, -1, 99999, 2**70])
    bounds = st.sampled_from([0, 5460, 16383, 16384, -1, 2**70])
    redirection = st.tuples(st.sampled_from([b"MOVED", b"ASK"]), bounds, hosts, ports).map(
        lambda t: b"-%s %d %s:%d\r\n" % t
    )
    info = st.sampled_from([b"cluster_current_epoch:7\r\n", b"", b"cluster_current_epoch:x"]).map(
        lambda text: b"$%d\r\n%s\r\n" % (len(text), text)
    )
    slots = st.tuples(bounds, bounds, hosts, ports).map(
        lambda t: b"*1\r\n*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%d\r\n" % (t[0], t[1], len(t[2]), t[2], t[3])
    )
    return redirection | st.tuples(info, slots).map(b"".join) | replies


@given(data=st.data())
@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])  # to shrink takes minutes
def test_any_reply_of_a_node_is_unavailable_and_the_cluster_is_found_again(server: Server, data: st.DataObject) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            whole_cluster = f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{proxy.port}\r\n".encode()
            proxy.instead = {
                b"\r\nCLUSTER\r\n$4\r\nINFO\r\n": b"$25\r\ncluster_current_epoch:7\r\n\r\n" + whole_cluster
            }
            store = near(f"redis+cluster://127.0.0.1:{proxy.port}", timeout_s=0.1)
            await store.open()
            await eventually(lambda: store.keeping)
            proxy.fault = Fault(mangle=data.draw(cluster_replies(proxy.port)))
            if data.draw(st.booleans()):
                proxy.cut()
            for product in ("1", "2"):
                with suppress(StoreUnavailable):
                    await store.fetch(UserId("u"), [ProductId(product)])
            proxy.fault = HEALTHY
            await asyncio.to_thread(server.store, "product:a", product_vector(5))
            await answers(store, 5)
            await eventually(lambda: store.keeping, 10)
            await store.close()

    run(test, 30)


def test_unforeseen_replies_are_counted_and_logged_once(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_reports", background.Seldom(60))
    before = background.unforeseen["exchange"]

    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            store = UncachedStore(RedisStore(connect(proxy.url, size=2, timeout_s=2.0), SCHEMA), SCHEMA)
            await store.open()
            proxy.fault = Fault(answer=b">0\r\n")
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="IndexError"):
                    await price(store)
            await eventually(lambda: background.unforeseen["exchange"] >= before + 4)
            proxy.fault = HEALTHY
            await asyncio.to_thread(server.store, "product:a", product_vector(5))
            await answers(store, 5)
            await store.close()

    run(test)
    logged = [record for record in caplog.records if record.name == "ranker.background"]
    assert len(logged) == 1
    assert logged[0].exc_info is not None


@contextmanager
def away(file: Path) -> Iterator[None]:
    """Have a file missing for a moment, as where it is renewed by other means than a rename."""
    hidden = file.rename(file.with_suffix(".away"))
    yield
    hidden.rename(file)


def with_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's side, and the file that names its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    known = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(known))
    return context, known


def test_tls_file_that_is_missing_for_a_moment_is_an_outage_that_ends(server: Server, tmp_path: Path) -> None:
    context, known = with_tls(tmp_path)

    async def test() -> None:
        async with FaultProxy(server.socket, context) as proxy:
            store = near(f"{proxy.url}?ssl_ca_certs={known}")
            await store.open()
            await whole(store, server, 1)
            with away(known):
                proxy.fault = Fault(refuse=True)
                proxy.cut()
                await eventually(lambda: not store.keeping)
                with pytest.raises(StoreUnavailable):
                    await price(store)
                proxy.fault = HEALTHY
                await eventually(lambda: "No such file" in reason(store))
            await whole(store, server, 3)
            await store.close()

    run(test, 30)


def test_worker_that_begins_in_such_a_moment_is_ready_and_reads_once_it_is_over(server: Server, tmp_path: Path) -> None:
    context, known = with_tls(tmp_path)
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})

    async def score(matrix: Matrix) -> Scores:
        return matrix[:, -1].copy()

    async def test() -> None:
        async with FaultProxy(server.socket, context) as proxy:
            read = Settings.model_validate({"redis_url": f"{proxy.url}?ssl_ca_certs={known}"})
            worker = Worker(read, ServedModel("a:1", schema, score))
            request = PredictRequest(requestId="r", userId="nobody", productIds=["none"])
            try:
                with away(known):
                    worker.start()
                    await eventually(lambda: worker.ready, 20)
                    assert (await worker.rank(request)).degraded_reason == "features_unavailable"
                async with asyncio.timeout(10):
                    # An event would have to come from the worker, and none says that Redis is read again.
                    while (await worker.rank(request)).degraded_reason == "features_unavailable":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            finally:
                await worker.stop()

    run(test, 60)
