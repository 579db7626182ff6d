from __future__ import annotations

import pytest

from ranker.redis.url import parse


def test_hosts_credentials_service_and_options_of_sentinels_are_told_apart() -> None:
    address = parse("rediss+sentinel://me:p%40ss@a,[::1]:7/shop/2?ssl_ca_certs=/ca.pem&sentinel_password=other")
    assert (address.kind, address.service) == ("sentinel", "shop")
    assert address.hosts == (("a", 26379), ("::1", 7))
    assert address.sentinel_options == {"password": "other"}
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
    ("url", "problem"),
    [
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
        ("redis://:hunter2@a[::1", "%XX"),
        ("hunter2", "begins with"),
        ("redis+cluster://:hunter2@a:x", "%XX"),
    ],
)
def test_url_that_is_none_is_said_to_be_so_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
