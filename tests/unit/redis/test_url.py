from __future__ import annotations

import pytest

from ranker.redis.url import parse


def test_hosts_credentials_service_and_options_of_sentinels_are_told_apart() -> None:
    address = parse("rediss+sentinel://me:p%40ss@a,[::1]:7/shop/2?ssl_ca_certs=/ca.pem&sentinel_password=other")
    assert (address.kind, address.service) == ("sentinel", "shop")
    assert address.hosts == (("a", 26379), ("::1", 7))
    assert address.sentinel_url == "rediss://a:26379?ssl_ca_certs=%2Fca.pem&password=other"
    assert address.url == "rediss://me:p%40ss@a:26379/2?ssl_ca_certs=%2Fca.pem"
    assert address.at(("10.0.0.1", 6379)) == "rediss://me:p%40ss@10.0.0.1:6379/2?ssl_ca_certs=%2Fca.pem"


def test_nodes_of_a_cluster_share_credentials_and_nothing_secret_is_named() -> None:
    address = parse("redis+cluster://me:hunter2@a:1,b:2")
    assert address.where == "the Cluster a:1, b:2"
    assert address.at(("::1", 3)) == "redis://me:hunter2@[::1]:3/0"
    assert "hunter2" not in repr(address)


def test_ranker_s_own_options_are_not_given_to_redis_py() -> None:
    address = parse("rediss+cluster://a:1,b:2?ssl_ca_certs=/ca.pem&auth=entra&fixed_hostname=yes")
    assert (address.auth, address.fixed_hostname) == ("entra", True)
    assert address.url == "rediss://a:1/0?ssl_ca_certs=%2Fca.pem"
    assert address.reached(("10.0.0.7", 8501)) == ("a", 8501)
    node = parse(address.at(("a", 8501)))
    assert (node.kind, node.auth, node.url) == ("single", "entra", "rediss://a:8501/0?ssl_ca_certs=%2Fca.pem")
    assert parse("redis+cluster://a,b").reached(("10.0.0.7", 8501)) == ("10.0.0.7", 8501)


@pytest.mark.parametrize(
    ("scheme", "query", "sentinel"),
    [
        ("redis", "", "redis://a:26379"),
        ("rediss", "ssl_ca_certs=/d", "rediss://a:26379?ssl_ca_certs=%2Fd"),
        ("rediss", "sentinel_ssl=no&ssl_ca_certs=/d", "redis://a:26379"),
        ("redis", "sentinel_ssl=yes&sentinel_ssl_ca_certs=/s", "rediss://a:26379?ssl_ca_certs=%2Fs"),
        (
            "rediss",
            "ssl_ca_certs=/d&ssl_certfile=/c&sentinel_ssl_ca_certs=/s",
            "rediss://a:26379?ssl_ca_certs=%2Fs&ssl_certfile=%2Fc",
        ),
        ("rediss", "sentinel_username=u&sentinel_ssl=no", "redis://a:26379?username=u"),
    ],
)
def test_sentinels_take_tls_as_the_servers_have_it_unless_options_of_their_own_say_otherwise(
    scheme: str, query: str, sentinel: str
) -> None:
    address = parse(f"{scheme}+sentinel://me:pass@a,b/shop?{query}")
    assert address.sentinel_url == sentinel
    assert "sentinel_" not in address.url


@pytest.mark.parametrize("option", ["decode_responses", "encoding", "encoding_errors", "protocol", "legacy_responses"])
@pytest.mark.parametrize(
    "start", ["redis://me:p%3Fss@h:1/2", "unix:///s", "rediss+cluster://h:1", "redis+sentinel://h:1/s/2"]
)
def test_options_that_change_what_replies_are_reach_no_connection(start: str, option: str) -> None:
    with_it, without = (parse(f"{start}?{query}client_name=a") for query in (f"{option}=3&", ""))
    assert with_it == without
    assert with_it.at(("n", 7)) == without.at(("n", 7))


def test_servers_are_reached_where_address_remap_says_whatever_they_announce() -> None:
    remap = "10.0.0.1:6379=localhost:7001,10.0.0.2=node2,[::5]:1=[::6]:2"
    for url in (f"redis+cluster://h?address_remap={remap}", f"redis+sentinel://h/shop?address_remap={remap}"):
        address = parse(url)
        assert address.is_remapped
        assert address.reached(("10.0.0.1", 6379)) == ("localhost", 7001)
        assert address.reached(("10.0.0.1", 6380)) == ("10.0.0.1", 6380)
        assert address.reached(("10.0.0.2", 6379)) == ("node2", 6379)
        assert address.reached(("::5", 1)) == ("::6", 2)
        assert address.reached(("Node9", 1)) == ("Node9", 1)
        assert "remap" not in address.url + address.at(("h", 1))


def test_announced_names_of_hosts_are_the_same_in_any_case() -> None:
    address = parse("redis+cluster://h?address_remap=Redis-1.Shop=127.0.0.1,Redis-2.Shop:6379=127.0.0.1:7002")
    for announced in ("Redis-1.Shop", "redis-1.shop", "REDIS-1.SHOP"):
        assert address.reached((announced, 6379)) == ("127.0.0.1", 6379)
    assert address.reached(("Redis-2.Shop", 6379)) == ("127.0.0.1", 7002)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://hunter2?address_remap=a:1=b:1", "for a Cluster or Sentinels alone"),
        ("redis+cluster://hunter2?fixed_hostname=yes&address_remap=a:1=b:1", "without fixed_hostname"),
        *(
            (f"redis+cluster://hunter2?address_remap={remap}", "ANNOUNCED=REACHED")
            for remap in ("a:1", "a:1=b", "a=", "=b:1")
        ),
        ("redis+cluster://hunter2?address_remap=a:1=b:x", "the port"),
        ("redis+cluster://:hunter2@a?db=1", "database 0"),
        ("redis+sentinel://hunter2/s?sentinel_ssl=1", "yes or no"),
        ("redis+sentinel://hunter2/s?sentinel_ssl_ca_certs=/s", "add sentinel_ssl=yes"),
        ("redis://hunter2?auth=entra", "needs TLS"),
        ("rediss://:hunter2@a?auth=entra", "takes the place"),
        ("rediss://hunter2?auth=other", "entra, or left out"),
        ("rediss://hunter2?fixed_hostname=yes", "for a Cluster alone"),
        ("redis+cluster://hunter2?fixed_hostname=1", "yes or no"),
        ("http://hunter2@a", "begins with"),
        ("unix+cluster://hunter2@a", "begins with"),
        ("redis+other://hunter2@a", "begins with"),
        ("redis+cluster://:hunter2@", "no host"),
        ("redis+cluster://:hunter2@a/1", "database 0"),
        ("redis+sentinel://:hunter2@a", "what they call the primary"),
        ("redis+sentinel://:hunter2@a/shop/x", "no number"),
        ("redis://:hunter2/@a:1", "%XX"),
        ("redis://:hunter2@a/shop", "database is no number"),
        ("rediss://:hunter2@a/1/2", "database is no number"),
        ("redis://:hunter2@a/-1", "database is no number"),
        ("redis://:12/hunter2@a", "database is no number.*%XX"),
        ("redis://:hunter2@a[::1", "%XX"),
        ("hunter2", "begins with"),
        ("redis+cluster://:hunter2@a:x", "%XX"),
    ],
)
def test_url_that_is_none_is_said_to_be_so_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)


def test_database_of_one_server_may_have_slashes_around_it_or_be_an_option() -> None:
    for url in ("redis://a", "redis://a/", "redis://a/3", "redis://a/3/", "redis://a?db=3", "unix:///tmp/a.sock?db=3"):
        assert parse(url).url == url
