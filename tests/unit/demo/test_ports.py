from ranker.demo.ports import free_port


def test_servers_that_start_together_get_different_ports() -> None:
    ports = [free_port() for _ in range(1000)]
    assert len(set(ports)) == len(ports)
    assert min(ports) > 1023
