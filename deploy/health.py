"""`python -m deploy.health ADDRESS [TLS_DIR]`: does the node there take work? Exit code 0 if it does; what containers ask of
their node.

ADDRESS is host:port, or unix:PATH (with * and ? as in a shell, for the one socket that is there). It is asked over TLS with
TLS_DIR, or with TIERCEL_TLS_CA, TIERCEL_TLS_CERT and TIERCEL_TLS_KEY.
"""

import sys
from contextlib import closing
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sync.identity.files import CA, CERT, KEY
from tiercel.tls import Tls, tls_of

ANSWER_S_MAX = 2.0
NO_PROXY = (("grpc.enable_http_proxy", 0),)


def main(address: str, tls: Tls | None = None) -> str:
    """What keeps the node from taking work, as far as can be seen from outside; empty if nothing does."""
    if address.startswith("unix:"):
        pattern = Path(address.removeprefix("unix:"))
        sockets = list(pattern.parent.glob(pattern.name))
        if len(sockets) != 1:
            return f"{len(sockets)} sockets at {address}: the node has not started, or the name fits several"
        address = f"unix:{sockets[0]}"
    with closing(_channel(address, tls)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S_MAX)
        except grpc.RpcError as error:
            return f"{address} does not answer: {error.details()}"
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if status == "SERVING" else f"{address} answers {status}: its log says why"


def _channel(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None or address.startswith("unix:"):
        return grpc.insecure_channel(address, options=NO_PROXY)
    options = (*NO_PROXY, ("grpc.ssl_target_name_override", tls.server)) if tls.server else NO_PROXY
    return grpc.secure_channel(address, tls.credentials(), options=options)


def _tls(folder: str | None) -> Tls | None:
    return tls_of() if folder is None else Tls(Path(folder) / CA, Path(folder) / CERT, Path(folder) / KEY)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m deploy.health host:port | unix:PATH [TLS_DIR]")
    sys.exit(main(sys.argv[1], _tls(sys.argv[2] if len(sys.argv) == 3 else None)) or None)
