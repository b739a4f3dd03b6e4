"""The body of a request, read as it comes and bounded."""

import contextlib
from collections.abc import Iterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from cloud.port import Problem
from cloud.requests import BODY_BYTES_MAX, too_large


async def body_of(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises Problem (413) as soon as it is known to be too large."""
    if int(request.headers.get("content-length") or 0) > bytes_max:
        raise too_large(bytes_max)
    chunks, size = list[bytes](), 0
    with _told_apart():
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max:
                raise too_large(bytes_max)
            chunks.append(chunk)
    return b"".join(chunks)


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """A client that leaves before its request is whole is no failure of ours."""
    try:
        yield
    except ClientDisconnect as error:
        raise Problem(400, "incomplete", "the request ended before its body did") from error
