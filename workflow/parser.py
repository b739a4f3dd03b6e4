"""From the text of an expression to its tree: a recursive descent that keeps to the limits on the way."""

import re
from difflib import get_close_matches

import msgspec

from workflow.syntax import (
    COMPREHENSIONS_MAX,
    DEPTH_MAX,
    FACETS,
    FUNCTIONS,
    LOCALS,
    MACROS,
    NESTED_MAX,
    ROOTS,
    RUN_WORDS,
    TYPE_NAMES,
    Call,
    Collection,
    Comprehension,
    Literal,
    Node,
    Part,
    Read,
    Reference,
    Syntax,
    Variable,
)
from workflow.tokens import Tokens


def parse(text: str, start: int = 0) -> Syntax:
    """Read one expression from `start` on; text may follow it. Raises ExpressionSyntaxError."""
    reader = _Reader(text, start)
    root = reader.expression()
    return Syntax(root, tuple(reader.references), tuple(sorted(reader.spans)), reader.comprehensions, reader.last_end)


_TASK_ID = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))


class _Reader(Tokens):
    """A recursive descent over the text; tokens are read one by one, because task ids are words of another kind."""

    def __init__(self, text: str, start: int) -> None:
        super().__init__(text, start)
        self.references: list[Reference] = []
        self.spans: list[tuple[int, int, int]] = []
        self.comprehensions = 0
        self._nested = 0
        self._bound: list[str] = []

    def _depth(self, *inner: Node) -> int:
        depth = 1 + max((node.depth for node in inner), default=0)
        if depth > DEPTH_MAX:
            raise self.refusal("the expression is too long a chain", f"{DEPTH_MAX} operations that build on each other")
        return depth

    # Operators

    def expression(self) -> Node:
        self._nested += 1
        if self._nested > NESTED_MAX:
            raise self.refusal("the expression is nested too deep", f"{NESTED_MAX} levels")
        node = self._binary(0)
        if self.accept("?"):
            then = self._binary(0)
            self.expect(":")
            otherwise = self.expression()
            node = Call("?:", (node, then, otherwise), self._depth(node, then, otherwise))
        self._nested -= 1
        return node

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while self.kind == "sign" and self.lexeme in _LEVELS[level]:
            operator = self.advance()
            right = self._binary(level + 1)
            node = Call(operator, (node, right), self._depth(node, right))
        return node

    def _unary(self) -> Node:
        sign = self.lexeme if self.kind == "sign" and self.lexeme in {"!", "-"} else ""
        count = 0
        while sign and self.accept(sign):
            count += 1
        node = self._member()
        return Call(sign, (node,), self._depth(node)) if count else node

    # Members

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self.accept("."):
                at, name = self.at, self.word("a field")
                if self.sees("("):
                    node = self._method(node, name, at)
                else:
                    node = Part(node, Literal(name), self._depth(node))
            elif self.accept("["):
                key = self.expression()
                self.expect("]")
                node = Part(node, key, self._depth(node, key))
            else:
                return node

    def _primary(self) -> Node:
        match self.kind:
            case "number":
                return self._number()
            case "string":
                return self._string()
            case "word":
                return self._name()
        if self.accept("("):
            node = self.expression()
            self.expect(")")
            return node
        if self.accept("["):
            return self._collection("]", is_map=False)
        if self.accept("{"):
            return self._collection("}", is_map=True)
        raise self.refusal(f"{self._found()} stands where a value is needed")

    def _number(self) -> Literal:
        token = self.advance()
        return Literal(int(token) if token.isdigit() else None)

    def _string(self) -> Literal:
        token = self.advance()
        body = token.lstrip("bBrR")
        quotes = 3 if len(body) >= 6 and body[:3] in {'"""', "'''"} else 1
        known = token[0] in "\"'rR" and ("\\" not in body or token[0] in "rR")
        return Literal(body[quotes:-quotes] if known else None, len(body) - 2 * quotes)

    def _collection(self, end: str, *, is_map: bool) -> Collection:
        items: list[Node] = []
        while not self.accept(end):
            items.append(self.expression())
            if is_map:
                self.expect(":")
                items.append(self.expression())
            if not self.accept(","):
                self.expect(end)
                break
        return Collection(tuple(items), is_map, self._depth(*items))

    def _name(self) -> Node:
        at, name = self.at, self.advance()
        if name in {"true", "false", "null"}:
            return Literal(None)
        if self.sees("("):
            return self._presence(at) if name == "has" else self._function(name, at)
        if name in self._bound:
            return Variable(name)
        if name in ROOTS:
            return self._reference(name, at)
        if name in LOCALS:
            return self._remember(Reference(name, "", self._path()), at)
        if name in TYPE_NAMES:
            return Literal(None, len(name))
        near = get_close_matches(name, (*ROOTS, *LOCALS), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise self.refusal(f"unknown name {name!r}{hint}", ", ".join(ROOTS), at)

    # Calls

    def _function(self, name: str, at: int) -> Call:
        self._known_function(name, at)
        arguments = self._arguments()
        return Call(name, arguments, self._depth(*arguments))

    def _known_function(self, name: str, at: int) -> None:
        if name not in FUNCTIONS:
            allowed = ", ".join(sorted(FUNCTIONS | {"has"} | MACROS))
            raise self.refusal(f"unknown function {name!r}", allowed, at)

    def _arguments(self) -> tuple[Node, ...]:
        self.expect("(")
        arguments: list[Node] = []
        while not self.accept(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.expression())
        return tuple(arguments)

    def _method(self, target: Node, name: str, at: int) -> Node:
        if name in MACROS:
            return self._comprehension(target, name, at)
        self._known_function(name, at)
        arguments = (target, *self._arguments())
        if name == "matches" and not (len(arguments) == 2 and isinstance(arguments[1], Literal)):
            raise self.refusal("the pattern of matches() is not known before it runs", "a text in quotes", at)
        return Call(name, arguments, self._depth(*arguments))

    def _comprehension(self, range_: Node, macro: str, at: int) -> Comprehension:
        self.expect("(")
        variable = self.word("a variable")
        if variable.startswith("__"):
            raise self.refusal("names that begin with __ are taken", "another name", at)
        self._bound.append(variable)
        if len(self._bound) > COMPREHENSIONS_MAX:
            raise self.refusal("comprehensions are nested too deep", f"{COMPREHENSIONS_MAX} levels", at)
        bodies: list[Node] = []
        while self.accept(","):
            bodies.append(self.expression())
        self.expect(")")
        self._bound.pop()
        self.comprehensions += 1
        if len(bodies) not in ({1, 2} if macro == "map" else {1}):
            raise self.refusal(f"{macro}() has {len(bodies) + 1} arguments", "a variable and what is made of it", at)
        return Comprehension(macro, range_, variable, tuple(bodies), self._depth(range_, *bodies))

    def _presence(self, at: int) -> Node:
        """`has(inputs.order.gift)`: we look ourselves, so that what it does not name never reaches the expression."""
        self.expect("(")
        known = len(self.references), len(self.spans)
        node = self._member()
        if isinstance(node, Part) and isinstance(node.key, Literal):
            self.expect(")")
            return Call("has", (node.whole,), self._depth(node))
        found = self.references[node.reference] if isinstance(node, Read) else Reference("", "")
        if not (found.path or (found.root in ("inputs", "tasks") and found.name)):
            raise self.refusal("has() asks for a field of something", "has(inputs.order.note)", at)
        asked = msgspec.structs.replace(found, presence=True)
        del self.references[known[0] :], self.spans[known[1] :]
        self.expect(")")
        return self._remember(asked, at)

    # References

    def _reference(self, root: str, at: int) -> Read:
        name, facet = "", "output"
        if root == "tasks":
            name, facet = self._task(at)
        elif root == "run":
            if not (self.accept(".") and self.lexeme in RUN_WORDS):
                raise self.refusal("run is only known by its id", "run.id", at)
            name = self.advance()
        elif step := self._step():
            name = str(step[0])
        path = self._path() if name or root != "inputs" else ()
        return self._remember(Reference(root, name, path, facet=facet), at)

    def _path(self) -> tuple[str | int, ...]:
        path: list[str | int] = []
        while step := self._step():
            path.append(step[0])
        return tuple(path)

    def _task(self, at: int) -> tuple[str, str]:
        if self.sees("."):
            match = _TASK_ID.match(self.text, self.skip_space(self.after))
            if match:
                self.read(match.end())
                name: str | int = match[0]
            else:
                name = 0
        else:
            step = self._step()
            name = step[0] if step else 0
        facet = self._step() if isinstance(name, str) else None
        if not isinstance(name, str) or facet is None or facet[0] not in FACETS:
            allowed = "tasks.<id>.output, tasks.<id>.state, tasks.<id>.error"
            raise self.refusal("of a task its output, state and error are known", allowed, at)
        return name, str(facet[0])

    def _step(self) -> tuple[str | int] | None:
        """`.field`, `["field"]` or `[0]` if that comes next; a method or a key known only at run time does not count."""
        before = self.at, self.last_end
        if self.accept("."):
            if self.kind == "word":
                name = self.advance()
                if not self.sees("("):
                    return (name,)
        elif self.accept("[") and self.kind in {"string", "number"}:
            key = (self._string() if self.kind == "string" else self._number()).value
            if key is not None and self.accept("]"):
                return (key,)
        self.read(before[0])
        self.last_end = before[1]
        return None

    def _remember(self, reference: Reference, at: int) -> Read:
        if reference not in self.references:
            self.references.append(reference)
        index = self.references.index(reference)
        self.spans.append((at, self.last_end, index))
        return Read(index)
