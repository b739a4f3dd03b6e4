"""Parameters with `${{ }}` in them: compiled once to pieces of JSON, so that rendering only fills the gaps.

    sku: "${{ inputs.sku }}"            a string that is one expression keeps the type of its value
    note: "order ${{ inputs.order }}"   inside a longer string, the value is written as text
    shell: "echo $${{ HOME }}"          $${{ is a literal ${{

A secret's reference (`secret://name`) comes from the definition or from an input that is declared secret, and from
nowhere else: agents resolve such text to the secret, so what a task or a client made up must never become one.
"""

import msgspec

from workflow import secret
from workflow.expression import RESULT_BYTES_MAX, Expression, ExpressionError, LargeOutput
from workflow.scope import Scope

OPENING = "${{"
RENDERED_BYTES_MAX = 1 << 20


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A string with expressions in it. One expression alone keeps its type, unless `is_text`."""

    parts: tuple[str | Expression, ...]
    is_text: bool
    may_be_secret: bool

    def encoded(self, scope: Scope) -> bytes:
        first = self.parts[0]
        if not isinstance(first, str) and not self.is_text:
            encoded = first.write(first.value(scope))
        else:
            encoded = self._encoded_text(scope)
        if secret.may_hold_reference(encoded) and not self.may_be_secret:
            raise ExpressionError(f"{self}: a {secret.PREFIX} reference comes from an input declared `secret: true` only")
        return encoded

    def _encoded_text(self, scope: Scope) -> bytes:
        texts: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                texts.append(part)
            else:
                value = part.value(scope)
                if isinstance(value, LargeOutput):
                    raise ExpressionError(f"{self}: {part.source} {value.refusal}")
                texts.append(value if isinstance(value, str) else part.write(value).decode())
        encoded = msgspec.json.encode("".join(texts))
        if len(encoded) > RESULT_BYTES_MAX:
            raise ExpressionError(f"{self}: the text has {len(encoded):,} bytes; allowed: {RESULT_BYTES_MAX >> 10} KiB")
        return encoded

    def __str__(self) -> str:
        text = "".join(part if isinstance(part, str) else f"${{{{ {part.source} }}}}" for part in self.parts)
        return text if len(text) <= 80 else text[:77] + "..."


class Template(msgspec.Struct, frozen=True, gc=False):
    """A JSON value to be rendered. `constant` is all of it if nothing is to be filled in; `reads` are indices of tasks."""

    constant: bytes | None
    reads: tuple[int, ...] = ()
    pieces: tuple[bytes | Gap, ...] = ()

    def render(self, scope: Scope) -> bytes:
        """The value as JSON. The scope has at least the tasks in `reads`. Raises ExpressionError."""
        if self.constant is not None:
            return self.constant
        rendered = b"".join([piece if isinstance(piece, bytes) else piece.encoded(scope) for piece in self.pieces])
        if len(rendered) > RENDERED_BYTES_MAX:
            raise ExpressionError(
                f"the parameters have {len(rendered):,} bytes; allowed: {RENDERED_BYTES_MAX >> 20} MiB. Hand over a file's place"
            )
        return rendered


EMPTY = Template(b"{}")
