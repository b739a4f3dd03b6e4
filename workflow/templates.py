"""Compiling the expressions and templates of one definition: every reference is checked against what can be read there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from workflow import secret
from workflow.expression import Expression, Plain, bind, bind_reference, is_plain, read_expression
from workflow.problems import Place, Problems, shown
from workflow.syntax import LOCALS, ROOTS, ExpressionSyntaxError, Reference
from workflow.tasks import LOCAL_BITS
from workflow.template import EMPTY, OPENING, Gap, Template

_OPENING = OPENING.encode()
_CLOSING = re.compile(r"\s*\}\}")
_PLAIN = re.compile(
    r"\$\{\{\s*(?:inputs\.([A-Za-z_]\w*)|tasks\.([a-z][a-z0-9_-]*)\.(output|state|error)|run\.id)"
    r"((?:\.[A-Za-z_]\w*)*)\s*\}\}",
    re.ASCII,
)


class Vocabulary(msgspec.Struct, frozen=True):
    """What all templates of a definition may name. Of inputs, some are secrets and some may hold secrets deeper down."""

    inputs: dict[str, object]
    secrets: frozenset[str]
    secret_holders: frozenset[str]


@dataclass(slots=True)
class TemplateCompiler:
    """Compiles what stands in one place of the graph (where `tasks` are the names that can be said, and `locals` the words)
    and collects the problems of all. Equal texts are compiled once.

    `silent` are tasks that have no output, by depth; `outputs` collects those whose output is read, `words` the local words that
    are, and the facets of tasks other than their output.
    """

    vocabulary: Vocabulary
    problems: Problems
    tasks: Mapping[str, int]
    locals: tuple[str, ...] = ()
    silent: tuple[set[int], ...] = ()
    outputs: set[int] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    roots: tuple[str, ...] = ROOTS
    run_words: tuple[str, ...] = ("id",)
    rounds: int = -1  # The repeat whose last round is `previous`; it is kept if that is said.
    _gaps: dict[str, tuple[bytes | Gap, list[int]]] = field(default_factory=dict)
    _reads: list[int] = field(default_factory=list)
    _may_read_secrets: bool = False

    def beside(self, *words: str) -> "TemplateCompiler":
        """For a place in the same surroundings that knows these words, too."""
        known = (*self.locals, *words)
        surroundings = self.vocabulary, self.problems, self.tasks, known, self.silent, self.outputs
        return TemplateCompiler(*surroundings, rounds=self.rounds)

    def parameters(self, parameters: dict[str, object], place: Place) -> Template:
        """The template of what an agent or another run gets: a JSON object that may hand on secrets."""
        if not parameters:
            return EMPTY
        self._may_read_secrets = True
        template = self.template(parameters, place)
        self._may_read_secrets = False
        return template

    def template(self, value: object, place: Place) -> Template:
        """The template of any JSON value."""
        encoded = msgspec.json.encode(value)
        if secret.may_hold_reference(encoded):
            self._check_secrets(value, place)
        self._reads = []
        if _OPENING not in encoded:
            return Template(encoded)
        pieces: list[bytes | Gap] = []
        position = 0
        texts: list[tuple[str, Place]] = []
        if isinstance(value, str):
            texts.append((value, place))
        else:
            self._find_texts(value, place, texts)
        for text, where in texts:
            # Only such texts hold the opening, and they come in the order of the JSON: each is found where it stands.
            written = msgspec.json.encode(text)
            start = encoded.index(written, position)
            pieces += [encoded[position:start], self._gap(text, where)]
            position = start + len(written)
        return self._template([*pieces, encoded[position:]])

    def text(self, text: str, place: Place) -> Template:
        """The template of a text, whatever the values in it are."""
        self._reads = []
        if OPENING not in text:
            return Template(msgspec.json.encode(text))
        return self._template([self._compile(text, place, is_text=True)])

    def condition(self, text: str, place: Place, *, negated: bool = False) -> tuple[Expression | None, tuple[int, ...]]:
        """A bare expression, or one in ${{ }}, and the tasks that it reads; None if there is a problem."""
        self._reads = []
        start = text.find(OPENING) + len(OPENING) if text.lstrip().startswith(OPENING) else 0
        try:
            syntax = read_expression(text, start)
            self._require_end(text, start, syntax.end, is_bare=start == 0)
            accepted = [self._accept(reference, place, False, False) for reference in syntax.references]
            if not all(accepted):
                return None, ()
            source = text[start : start + syntax.end]
            if negated:
                source = f"!({source}\n)"
                syntax = read_expression(source)
            return bind(syntax, source, self.tasks), tuple(sorted(set(self._reads)))
        except ExpressionSyntaxError as refusal:
            self._refuse(refusal, text[start:], place)
            return None, ()

    def _require_end(self, text: str, start: int, end: int, *, is_bare: bool) -> None:
        rest = text[start + end :].strip()
        if rest == ("" if is_bare else "}}"):
            return
        message = f"the expression does not end before {shown(rest[:20])}" if rest else "the expression does not end"
        raise ExpressionSyntaxError(message, end + 1, "the end" if is_bare else "}} and nothing after it")

    def site(self, text: str, place: Place) -> Template:
        """The template of a task's `site`: a JSON string that depends on inputs alone."""
        self._reads = []
        if OPENING not in text:
            return Template(msgspec.json.encode(text))
        return self._template([self._compile(text, place, is_text=True, is_site=True)])

    def place_of(self, name: str, parameters: dict[str, object], place: Place) -> Place:
        """Where in the parameters a task's name first stands in a text with expressions."""
        texts: list[tuple[str, Place]] = []
        self._find_texts(parameters, place, texts)
        return next((where for text, where in texts if name in text), place)

    def _template(self, pieces: list[bytes | Gap]) -> Template:
        constants = [piece for piece in pieces if isinstance(piece, bytes)]
        if len(constants) == len(pieces):
            return Template(b"".join(constants))
        reads = self._reads
        return Template(None, tuple(sorted(set(reads)) if len(reads) > 1 else reads), tuple(pieces))

    def _find_texts(self, whole: Any, place: Place, found: list[tuple[str, Place]]) -> None:
        """Add the texts with an opening inside a mapping or list, in its order."""
        for key, item in whole.items() if isinstance(whole, dict) else enumerate(whole):
            if isinstance(key, str) and OPENING in key:
                self.problems.add((*place, key), f"{shown(key)} is a name, not a value", "${{ }} in values")
            elif isinstance(item, str):
                if OPENING in item:
                    found.append((item, (*place, key)))
            elif isinstance(item, dict | list):
                self._find_texts(item, (*place, key), found)

    def _gap(self, text: str, place: Place) -> bytes | Gap:
        if match := _PLAIN.fullmatch(text):
            return self._plain(match, place)
        known = self._gaps.get(text) if self._may_read_secrets else None
        if known is None:
            before, found = len(self.problems), len(self._reads)
            gap = self._compile(text, place)
            if len(self.problems) == before and self._may_read_secrets:
                self._gaps[text] = gap, self._reads[found:]
            return gap
        self._reads += known[1]
        return known[0]

    # One text

    def _compile(self, text: str, place: Place, *, is_text: bool = False, is_site: bool = False) -> bytes | Gap:
        parts: list[str | Expression] = []
        position, before = 0, len(self.problems)
        while (opening := text.find(OPENING, position)) >= 0:
            start = opening + len(OPENING)
            if opening > position and text[opening - 1] == "$":
                parts.append(text[position : opening - 1] + OPENING)
                position = start
            else:
                parts.append(text[position:opening])
                position = self._expression(text, start, parts, place, is_site)
        parts.append(text[position:])
        if len(self.problems) > before:
            return b"null"
        return self._joined([part for part in parts if part], place, is_text)

    def _expression(self, text: str, start: int, parts: list[str | Expression], place: Place, is_site: bool) -> int:
        """Compile the expression at `start` into `parts`; gives the position after its `}}`."""
        try:
            syntax = read_expression(text, start)
            match = _CLOSING.match(text, start + syntax.end)
            if match is None:
                rest = text[start + syntax.end :].strip()[:20]
                message = f"the expression does not end before {shown(rest)}" if rest else "the expression does not end"
                raise ExpressionSyntaxError(message, syntax.end + 1, "}}")
            is_alone = start == len(OPENING) and match.end() == len(text) and is_plain(syntax)
            accepted = [self._accept(reference, place, is_alone, is_site) for reference in syntax.references]
            if all(accepted):
                parts.append(bind(syntax, text[start : start + syntax.end], self.tasks))
            return match.end()
        except ExpressionSyntaxError as refusal:
            self._refuse(refusal, text[start - len(OPENING) :], place)
            return len(text)

    def _refuse(self, refusal: ExpressionSyntaxError, text: str, place: Place) -> None:
        where = f"column {refusal.column} of {shown(text)}"
        self.problems.add(place, f"{refusal.message} ({where})", refusal.allowed)

    def _joined(self, parts: Sequence[str | Expression], place: Place, is_text: bool) -> bytes | Gap:
        first = parts[0]
        if isinstance(first, str):
            if all(isinstance(part, str) for part in parts):
                return msgspec.json.encode("".join(map(str, parts)))
            if first.startswith(secret.PREFIX):
                self.problems.add(place, "the name of a secret is computed", secret.RULE)
            return Gap(tuple(parts), True, False)
        return Gap(tuple(parts), is_text or len(parts) > 1, self._may_be_secret(first))

    def _plain(self, match: re.Match[str], place: Place) -> bytes | Gap:
        """The common case, a string that is one reference and nothing else, without the parser."""
        input, task, facet, path = match.groups()
        root = "tasks" if task else "inputs" if input else "run"
        reference = Reference(root, task or input or "id", tuple(path.split(".")[1:]) if path else (), False, facet or "output")
        if not self._accept(reference, place, is_alone=True, is_site=False):
            return b"null"
        expression = bind_reference(reference, self.tasks)
        return Gap((expression,), False, self._may_be_secret(expression))

    # What a reference may be

    def _accept(self, reference: Reference, place: Place, is_alone: bool, is_site: bool) -> bool:
        before = len(self.problems)
        if reference.root in ROOTS and reference.root not in self.roots:
            self.problems.add(place, f"{reference.root!r} is not known here", ", ".join((*self.roots, *self.locals)))
        elif reference.root == "run" and reference.name not in self.run_words:
            self.problems.add(place, f"run.{reference.name} is known in standing rules only", "run.id")
        elif reference.root == "inputs":
            self._check_input(reference, place, is_alone and self._may_read_secrets and not is_site)
        elif is_site:
            what = f"on task {reference.name!r}" if reference.root == "tasks" else "on the run"
            self.problems.add(place, f"a site depends on inputs only, not {what}", "inputs")
        elif reference.root == "tasks":
            self._check_task(reference, place)
        elif reference.root in LOCALS:
            self.words.add(reference.root)
            if reference.root not in self.locals:
                self.problems.add(place, f"{reference.root!r} is not known here", ", ".join((*self.roots, *self.locals)))
            elif reference.root == "previous":
                self.outputs.add(self.rounds)
        return len(self.problems) == before

    def _check_input(self, reference: Reference, place: Place, is_alone: bool) -> None:
        known = self.vocabulary
        is_secret = reference.name in known.secrets if reference.name else bool(known.secrets)
        if reference.name and reference.name not in known.inputs:
            self.problems.add_unknown(place, "input", reference.name, known.inputs)
        elif is_secret and not is_alone and not reference.presence:
            name = f"input {reference.name!r}" if reference.name else "one of the inputs"
            allowed = "a parameter that is this input and nothing else"
            self.problems.add(place, f"{name} is a secret, which only an agent can read", allowed)

    def _check_task(self, reference: Reference, place: Place) -> None:
        task = self.tasks.get(reference.name)
        if task is None:
            self.problems.add_unknown(place, "task", reference.name, self.tasks)
        elif reference.facet == "output":
            if task in self.silent[task >> LOCAL_BITS]:
                self.problems.add(place, f"task {reference.name!r} is a wait, which has no output", "tasks that agents do")
            else:
                self._reads.append(task)
                self.outputs.add(task)
        else:
            self._reads.append(task)
            self.words.add(reference.facet)

    def _may_be_secret(self, expression: Expression) -> bool:
        if not isinstance(expression, Plain) or expression.root != "inputs" or not self._may_read_secrets:
            return False
        holders = self.vocabulary.secret_holders
        return expression.key in holders if expression.key else bool(holders)

    def _check_secrets(self, value: object, place: Place) -> None:
        """A literal reference to a secret must be one, or the agent would look for something else than was meant."""
        if isinstance(value, dict):
            for key, item in value.items():
                self._check_secrets(item, (*place, key))
        elif isinstance(value, list):
            for position, item in enumerate(value):
                self._check_secrets(item, (*place, position))
        elif isinstance(value, str) and value.startswith(secret.PREFIX):
            if not self._may_read_secrets:
                self.problems.add(place, "is a reference to a secret, which only an agent can read", "secrets in `with`")
            elif _is_broken_secret(value):
                self.problems.add(place, "is no reference to a secret", secret.RULE)


def _is_broken_secret(text: str) -> bool:
    return OPENING not in text and not secret.is_reference(text)
