"""An agent without the SDK: it says to a gateway whatever a test wants, true or not."""

import queue
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from tiercel.v1 import agent_pb2, agent_pb2_grpc

ANSWER_S_MAX = 60.0


class RawAgent:
    """One session over the site's Unix socket. Raises grpc.RpcError from `hear` once the gateway has ended it."""

    def __init__(self, gateway: Path, name: str, *capabilities: str) -> None:
        self.name = name
        self._channel = grpc.insecure_channel(f"unix:{gateway}")
        self._say: queue.SimpleQueue[agent_pb2.AgentMessage | None] = queue.SimpleQueue()
        self._call: Any = agent_pb2_grpc.AgentServiceStub(self._channel).Connect(self._outgoing(), timeout=ANSWER_S_MAX)
        register = agent_pb2.Register(protocol_version=1, agent=name, boot="b1", capabilities=capabilities, capacity=4)
        self.say(agent_pb2.AgentMessage(register=register))
        assert self.hear("welcome").welcome.lease_ms > 0

    def say(self, message: agent_pb2.AgentMessage) -> None:
        """Queue a message; it leaves in order."""
        self._say.put(message)

    def report(self, *results: agent_pb2.TaskResult) -> None:
        """Say that these attempts are over."""
        self.say(agent_pb2.AgentMessage(results=agent_pb2.Results(items=results)))

    def hear(self, kind: str) -> agent_pb2.EdgeMessage:
        """The next message of a kind; others are skipped."""
        while True:
            message: agent_pb2.EdgeMessage = next(self._call)
            if message.WhichOneof("kind") == kind:
                return message

    def hear_assignment(self) -> agent_pb2.Assignment:
        """The next piece of work, which must come alone."""
        (assignment,) = self.hear("assignments").assignments.items
        return assignment

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._say.put(None)
        self._call.cancel()
        self._channel.close()

    def _outgoing(self) -> Iterator[agent_pb2.AgentMessage]:
        while (message := self._say.get()) is not None:
            yield message
