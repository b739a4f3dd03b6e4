"""deploy/proxy.py: the path between two nodes, cut and healed."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from deploy.proxy import CuttingProxy


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def dial(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.settimeout(30)
    return connection


def send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def arrives(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(30)


def test_what_goes_in_comes_out(echo: str) -> None:
    """An open path carries every byte, both ways, and the end of the stream."""
    sent = bytes(range(256)) * 4096
    with CuttingProxy(echo) as proxy, dial(proxy.address) as connection:
        sender = threading.Thread(target=send_all, args=(connection, sent))
        sender.start()
        assert arrives(connection, len(sent)) == sent
        assert connection.recv(1) == b""
        sender.join()


def test_a_silent_cut_loses_nothing(echo: str) -> None:
    """While silently cut nothing arrives and nobody is told; healed, everything that was sent meanwhile arrives in order."""
    with CuttingProxy(echo) as proxy, dial(proxy.address) as before:
        before.sendall(b"one")
        assert arrives(before, 3) == b"one"

        proxy.cut(silent=True)
        before.sendall(b"two")
        with dial(proxy.address) as meanwhile:
            meanwhile.sendall(b"three")
            assert is_silent(before)
            assert is_silent(meanwhile)

            proxy.heal()
            assert arrives(before, 3) == b"two"
            assert arrives(meanwhile, 5) == b"three"


def test_a_cut_ends_connections_until_healed(echo: str) -> None:
    """A cut ends what is connected and what connects; after healing new connections work."""
    with CuttingProxy(echo) as proxy, dial(proxy.address) as before:
        before.sendall(b"one")
        assert arrives(before, 3) == b"one"

        proxy.cut()
        assert has_ended(before)
        with dial(proxy.address) as meanwhile:
            assert has_ended(meanwhile)

        proxy.heal()
        with dial(proxy.address) as after:
            after.sendall(b"two")
            assert arrives(after, 3) == b"two"


def has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_an_absent_target_ends_the_connection() -> None:
    """If nobody listens at the target, the dialler's connection ends, as it would without a proxy."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        free = taken.getsockname()[1]
    with CuttingProxy(f"127.0.0.1:{free}") as proxy, dial(proxy.address) as connection:
        assert has_ended(connection)


def test_closing_frees_everything(echo: str) -> None:
    """A closed proxy holds no connection, its port is free again, and closing it twice does no harm."""
    proxy = CuttingProxy(echo)
    connection = dial(proxy.address)
    connection.sendall(b"x")
    assert arrives(connection, 1) == b"x"

    proxy.close()
    proxy.close()

    assert has_ended(connection)
    connection.close()
    assert proxy.connections == 0
    CuttingProxy(echo, listen=proxy.address).close()
