"""`python -m deploy.health ADDRESS`: does the node there take work? Exit code 0 if it does; what containers ask of their node.

ADDRESS is host:port, or unix:PATH (with * and ? as in a shell, for the one socket that is there).
"""

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ANSWER_S_MAX = 2.0
NO_PROXY = (("grpc.enable_http_proxy", 0),)


def main(address: str) -> str:
    """What keeps the node from taking work, as far as can be seen from outside; empty if nothing does."""
    if address.startswith("unix:"):
        pattern = Path(address.removeprefix("unix:"))
        sockets = list(pattern.parent.glob(pattern.name))
        if len(sockets) != 1:
            return f"{len(sockets)} sockets at {address}: the node has not started, or the name fits several"
        address = f"unix:{sockets[0]}"
    with grpc.insecure_channel(address, options=NO_PROXY) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S_MAX)
        except grpc.RpcError as error:
            return f"{address} does not answer: {error.details()}"
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if status == "SERVING" else f"{address} answers {status}: its log says why"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.health host:port | unix:PATH")
    sys.exit(main(sys.argv[1]) or None)
