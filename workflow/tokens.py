"""The words of CEL, one at a time: a cursor over the text of an expression."""

import re

from workflow.syntax import ExpressionSyntaxError

_SPACE = re.compile(r"(?:[ \t\r\n\f]+|//[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<string>(?:[bB]?[rR]|[bB])?(?:\"\"\"|'''|"|'))
      | (?P<number>0[xX][0-9a-fA-F]+[uU]? | \d*\.\d+(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ | \d+[uU]?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)


class Tokens:
    """The token at hand and where it stands. `kind` is string, number, word, sign, or empty for what is none of them."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.last_end = start  # Where the token before this one ends.
        self._start = start
        self.read(start)

    def read(self, position: int) -> None:
        """Make the token at `position` the current one."""
        self.at = self.skip_space(position)
        match = _TOKEN.match(self.text, self.at)
        self.kind = (match.lastgroup or "") if match else ""
        self.lexeme = match[0] if match else self.text[self.at : self.at + 1]
        self.after = match.end() if match else self.at
        if self.kind == "string":
            self._close_string()
        elif self.kind == "word" and self.lexeme == "in":
            self.kind = "sign"

    def advance(self) -> str:
        """Move to the next token; gives the one left behind."""
        lexeme, self.last_end = self.lexeme, self.after
        self.read(self.after)
        return lexeme

    def sees(self, sign: str) -> bool:
        return self.kind == "sign" and self.lexeme == sign

    def accept(self, sign: str) -> bool:
        """Move on if the sign is at hand."""
        if self.sees(sign):
            self.advance()
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            raise self.refusal(f"{self._found()} stands where {sign!r} is needed")

    def word(self, what: str) -> str:
        if self.kind != "word":
            raise self.refusal(f"{self._found()} stands where the name of {what} is needed")
        return self.advance()

    def refusal(self, message: str, allowed: str = "", at: int | None = None) -> ExpressionSyntaxError:
        column = (self.at if at is None else at) - self._start + 1
        return ExpressionSyntaxError(message, column, allowed, at_end=not self.lexeme)

    def _found(self) -> str:
        return repr(self.lexeme) if self.lexeme else "the end"

    def skip_space(self, position: int) -> int:
        space = _SPACE.match(self.text, position)
        return space.end() if space else position

    def _close_string(self) -> None:
        quote = self.lexeme.lstrip("bBrR")
        raw = "r" in self.lexeme.lower()
        position = self.after
        while not self.text.startswith(quote, position):
            if position >= len(self.text) or (len(quote) == 1 and self.text[position] == "\n"):
                self.lexeme = self.text[position : position + 1]
                raise self.refusal("the text in quotes does not end")
            position += 2 if self.text[position] == "\\" and not raw else 1
        self.after = position + len(quote)
        self.lexeme = self.text[self.at : self.after]
