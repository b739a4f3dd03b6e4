"""What gRPC says of a connection that could not be made, in words that help. Pure.

A client is told why it does not believe the server. Why a server does not believe a client, gRPC tells nobody: it closes the
connection and writes a line to its own stderr (`Handshake failed`); there is no hook for it.
"""

CLOSED = "Socket closed"
NOT_TLS = "the other side does not speak TLS: is the cloud started with --tls-dir?"
WANTS_TLS = "the other side closes the connection at once: it wants TLS, perhaps (--tls-dir)"
NOT_TAKEN = (
    "the other side closes the connection in the handshake: most likely it does not take our certificate, which is of another CA "
    "or has expired there; its stderr says why (`Handshake failed`)"
)
KNOWN = (
    ("WRONG_VERSION_NUMBER", NOT_TLS),
    (
        "Hostname Verification Check failed",
        "the certificate there is not the cloud's (cloud.tiercel): is that the cloud's address?",
    ),
    ("certificate has expired", "the cloud's certificate has expired: tiercel cert issue --node cloud"),
    ("certificate is not yet valid", "the cloud's certificate is not valid yet: do the clocks agree?"),
    ("CERTIFICATE_VERIFY_FAILED", "the cloud's certificate is not of a CA that we trust: is ca.crt that of this cloud?"),
    ("BAD_SIGNATURE", "the cloud's certificate is not of a CA that we trust: is ca.crt that of this cloud?"),
)

MUTE = ("Internal error from Core", "execute_batch", "start_batch", "RPC already finished", "Deadline Exceeded", "RPC cancelled")
"""What gRPC says when a write failed before the reason was read, or nothing came in time: not why."""
NO_ANSWER = "the other side does not answer in time"


def tells_why(said: str) -> bool:
    """Does it say what is wrong, or only that an attempt came to nothing?"""
    return bool(said) and said != NO_ANSWER and not any(mark in said for mark in MUTE)


def handshake_problem(said: str, *, is_tls: bool) -> str:
    """What is wrong between two that reach each other; empty if it is not known to be a matter of TLS."""
    for mark, words in KNOWN:
        if mark in said:
            return words
    if CLOSED in said:
        return NOT_TAKEN if is_tls else WANTS_TLS
    return ""
