"""What clients send to empty a cache, decoded from bytes. A refusal names the field and what is allowed."""

import msgspec

from cloud.port import Problem
from cloud.problems import of_shape


class ClearRequest(msgspec.Struct, forbid_unknown_fields=True):
    """All results; those of a `capability` or an `agent`; of these only that under `key`."""

    capability: str = ""
    agent: str = ""
    key: str = ""

    @property
    def work(self) -> str:
        """As the cache knows it; empty: all."""
        return self.capability or (f"@{self.agent}" if self.agent else "")


def clear_request(body: bytes) -> ClearRequest:
    """The body; an empty one means all results. Raises Problem (400 no JSON, 422 wrong shape)."""
    try:
        asked = _DECODE(body or b"{}")
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": ClearRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error
    if asked.capability and asked.agent:
        said = f"capability {asked.capability!r} and agent {asked.agent!r}"
        raise Problem(422, "invalid_request", f"{said}: a result is of one of them; allowed: capability, or agent, or neither")
    if asked.key and not asked.work:
        detail = f"key {asked.key!r} alone says nothing: a result is kept under a capability or an agent, too; give one of them"
        raise Problem(422, "invalid_request", detail)
    return asked


_DECODE = msgspec.json.Decoder(ClearRequest).decode
