"""What else a dependency between runs asks of what it waits for, as it is kept; `workflow.judging` reads and judges it."""

import msgspec


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """`when` (CEL) must hold. What `select` (CEL; empty: the whole output) gives goes into the parameter of the task that waits,
    or the input of the run, that `into` names, if it fits `schema` (a JSON Schema as JSON)."""

    when: str = ""
    select: str = ""
    into: str = ""
    schema: bytes = b""
