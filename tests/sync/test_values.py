"""Names of streams, and where a node may listen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.listen import ListenRefused, check_address
from sync.values import StreamId, latest_incarnation, stream_id, stream_incarnation, stream_reader, stream_writer

names = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


@given(names, st.integers(1, 99), st.just("") | names)
def test_a_stream_says_who_writes_it_and_for_whom(writer: str, incarnation: int, reader: str) -> None:
    """Writer, reader and incarnation come back from the id; a stream for everybody has no reader."""
    stream = stream_id(writer, incarnation, reader)
    assert (stream_writer(stream), stream_reader(stream), stream_incarnation(stream)) == (writer, reader, incarnation)


@pytest.mark.parametrize("name", ["harbour", "harbour@", "harbour@x", "harbour@-1", "harbour@٣", "harbour@12345678901"])
def test_a_name_that_says_no_incarnation_has_none(name: str) -> None:
    """It comes from a peer, and what is no number, or too large for one, counts as none."""
    assert stream_incarnation(StreamId(name)) == 0


def test_the_last_incarnation_is_the_one_with_the_largest_number() -> None:
    """Counted as numbers, of that writer and reader alone."""
    streams = [StreamId(name) for name in ("cloud>harbour@9", "cloud>harbour@10", "cloud>pier@11", "harbour@12", "cloud@13")]
    assert latest_incarnation(streams, "cloud", "harbour") == "cloud>harbour@10"
    assert latest_incarnation(streams, "cloud") == "cloud@13"
    assert latest_incarnation(streams, "pier") is None


def test_streams_are_named_as_people_read_them() -> None:
    """`cloud>harbour@1` is what the cloud writes for the harbour."""
    assert stream_id("cloud", 1, "harbour") == StreamId("cloud>harbour@1")
    assert stream_id("harbour", 2) == StreamId("harbour@2")


@pytest.mark.parametrize("address", ["127.0.0.1:7443", "localhost:0", "[::1]:7443", "127.8.9.1:1"])
def test_loopback_is_always_allowed(address: str) -> None:
    """A listener that only this machine reaches needs no permission."""
    assert check_address(address, insecure=False) == address


@pytest.mark.parametrize("address", ["0.0.0.0:7443", "[::]:7443", "10.1.2.3:80", "edge.example.org:7443"])
def test_other_addresses_need_to_be_asked_for(address: str) -> None:
    """What other machines reach is refused, with the way out named, unless --insecure is given."""
    with pytest.raises(ListenRefused, match=r"not authenticated.*--tls-dir.*--insecure"):
        check_address(address, insecure=False)
    assert check_address(address, insecure=True) == address


@pytest.mark.parametrize("address", ["127.0.0.1", "7443", ":7443", "127.0.0.1:", "127.0.0.1:http", ""])
def test_half_an_address_is_refused(address: str) -> None:
    """Host and port are both needed, whether the network is trusted or not."""
    with pytest.raises(ListenRefused, match="give host:port"):
        check_address(address, insecure=True)
