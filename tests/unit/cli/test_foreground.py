import socket

import pytest

from ranker.cli.foreground import check_address
from ranker.errors import AddressUnusable


def test_an_address_that_cannot_be_listened_on_is_named_with_what_helps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            AddressUnusable, match=rf"127\.0\.0\.1:{port}: Address .*\. End what does, or choose another"
        ):
            check_address("127.0.0.1", port)
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(
            AddressUnusable, match=rf"listen on {host}:{port}: .*\. Choose an address of this machine, "
        ):
            check_address(host, port)
    check_address("127.0.0.1", port)
