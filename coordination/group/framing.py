"""Messages as frames of at most 1 MiB: a list of them is one piece of msgpack, cut if it is longer. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from coordination.group.founding import Greeting, Refusal
from coordination.group.values import PRIORITY_MAX
from coordination.raft.marks import Mark
from coordination.raft.values import Message
from tiercel.v1 import group_pb2

FRAME_BYTES = 1 << 20
LIST_BYTES_MAX = 256 << 20

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])
_message = msgspec.msgpack.Decoder(Message)


def cut_frames(messages: Sequence[Message]) -> Iterator[group_pb2.GroupFrame]:
    """The frames that carry them; none for none."""
    if not messages:
        return
    data = _encoder.encode(messages)
    for begin in range(0, len(data), FRAME_BYTES):
        yield group_pb2.GroupFrame(data=data[begin : begin + FRAME_BYTES], more=begin + FRAME_BYTES < len(data))


class Frames:
    """Puts together what one peer sends to one member."""

    def __init__(self, source: str, target: str) -> None:
        self._source, self._target = source, target
        self._parts: list[bytes] = []
        self._bytes = 0

    def take(self, frame: group_pb2.GroupFrame) -> list[Message]:
        """The messages that are whole with this frame. Raises Refusal for those of others; msgspec.MsgspecError."""
        self._bytes += len(frame.data)
        if self._bytes > LIST_BYTES_MAX:
            raise Refusal("message", f"a list of messages of more than {LIST_BYTES_MAX:,} bytes")
        self._parts.append(frame.data)
        if frame.more:
            return []
        data, self._parts, self._bytes = b"".join(self._parts), [], 0
        messages = _decoder.decode(data)
        for message in messages:
            if message.source != self._source or message.target != self._target:
                whose = f"a message from {message.source} to {message.target}"
                raise Refusal("message", f"{whose} on the line from {self._source} to {self._target}")
        return messages


def pack_message(message: Message) -> bytes:
    """One message."""
    return _encoder.encode(message)


def unpack_message(data: bytes) -> Message:
    """Raises msgspec.MsgspecError."""
    return _message.decode(data)


def to_hello(greeting: Greeting) -> group_pb2.GroupHello:
    """As it is sent."""
    return group_pb2.GroupHello(
        protocol_version=greeting.protocol,
        site=greeting.site,
        member=greeting.member,
        instance=greeting.instance,
        group=greeting.group,
        founders=greeting.founders,
        peers=greeting.peers,
        joins=greeting.joins,
        marks={
            name: group_pb2.GroupMark(closed=mark.closed, term=mark.term, index=mark.index)
            for name, mark in greeting.marks.items()
        },
        priority=greeting.priority,
    )


def from_hello(hello: group_pb2.GroupHello) -> Greeting:
    """As it was sent."""
    return Greeting(
        hello.site,
        hello.member,
        hello.instance,
        hello.group,
        dict(hello.founders),
        tuple(hello.peers),
        hello.joins,
        hello.protocol_version,
        {name: Mark(mark.closed, mark.term, mark.index) for name, mark in hello.marks.items()},
        min(hello.priority, PRIORITY_MAX),
    )
