"""A JSON value as a document of nodes, edges and fields, and back: what people put and patch becomes operations.

Each object of the value is a node whose id is its JSON pointer (RFC 6901; the root is ""), and what it holds that is no object is
its fields. Three forms have a meaning of their own, and no member may have such a name otherwise:

    {"$items": {id: [place, value]}}     a list whose items are edited one by one, in the order of (place, id)
    "$edges": [[source, target, kind]]   in the root: the edges between objects
    {"$null": true}                      in a field of a node only: JSON's null, for a field of None is none

All other arrays are values like numbers: who puts one puts it whole. The home keeps a document *whole* (`mends`): every object
has the one that it is in, and no member is a plain value and an object at once. So `document_of(value_of(d))` is d, and a home
that begins anew from the value has what it had.
"""

from collections.abc import Iterable, Iterator, Sequence

from sync.documents.merge_patch import merged
from sync.ot.document import ITEMS, Document, items_of, same_json
from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, Ins, Json, Malformed, Move, Put, Rem
from sync.ot.transform import IN_FIELD

ROOT = ""
EDGES = "$edges"
NULL: dict[str, Json] = {"$null": True}
RESERVED = (ITEMS, EDGES, "$null")
OBJECTS_DEEP_MAX = 100


def below(node: str, name: str) -> str:
    """The id of the object that this member of a node is."""
    return f"{node}/{name.replace('~', '~0').replace('/', '~1')}"


def above(node: str) -> tuple[str, str]:
    """The node that this one is in, and the member that it is there."""
    parent, _, name = node.rpartition("/")
    return parent, name.replace("~1", "/").replace("~0", "~") if "~" in name else name


def document_of(value: Json) -> Document:
    """Raises Malformed if the value has no such form."""
    if not isinstance(value, dict):
        raise Malformed(f"a document whose edits are transformed is an object, not {_kind(value)}")
    document = Document(dict(_nodes(ROOT, {name: inner for name, inner in value.items() if name != EDGES})))
    for edge in _edges(value.get(EDGES, [])):
        document.apply([AddEdge(*edge)])
    return document


def value_of(document: Document) -> Json:
    """The JSON value; None of a document without nodes. An object that lacks the one it is in shows it all the same, and one in
    the place of a plain value hides that."""
    if not document.nodes:
        return None
    objects: dict[str, dict[str, Json]] = {ROOT: {}}
    for node in sorted(document.nodes):
        shown = _shown(objects, node)
        shown.update(document.nodes[node])
        for name, value in document.nodes[node].items():
            if value == NULL:
                shown[name] = None
    if document.edges:
        objects[ROOT][EDGES] = [list(edge) for edge in sorted(document.edges)]
    return objects[ROOT]


def difference(before: Document, after: Document) -> list[Any_]:
    """What makes one document of another: of equal ones nothing."""
    gone = {node: None for node in sorted(before.nodes, reverse=True) if node not in after.nodes}
    left = [edge for edge in sorted(before.edges) if edge not in after.edges]
    out: list[Any_] = [DelEdge(*edge) for edge in left if edge[0] not in gone and edge[1] not in gone]
    for node in gone:
        taken = tuple(edge for edge in left if node in edge[:2])
        left = [edge for edge in left if node not in edge[:2]]
        out.append(DelNode(node, before.nodes[node], taken))
    for node in sorted(after.nodes):
        if (fields := before.nodes.get(node)) is None:
            out.append(AddNode(node, after.nodes[node]))
            continue
        for name in sorted(fields.keys() | after.nodes[node].keys()):
            out += _in_field(node, name, fields.get(name), after.nodes[node].get(name))
    return out + [AddEdge(*edge) for edge in sorted(after.edges) if edge not in before.edges]


def patch_operations(document: Document, patch: Json) -> list[Any_]:
    """What a merge patch (RFC 7396) does to a document. It looks at what the patch names alone. Raises Malformed."""
    if not isinstance(patch, dict):
        return difference(document, document_of(patch))
    out = list(_patched(document, ROOT, {name: new for name, new in patch.items() if name != EDGES}))
    if EDGES in patch:
        gone = {operation.id for operation in out if isinstance(operation, DelNode)}
        wanted, now = _edges(patch[EDGES] or []), [e for e in document.edges if e[0] not in gone and e[1] not in gone]
        out += [DelEdge(*edge) for edge in sorted(now) if edge not in wanted]
        out += [AddEdge(*edge) for edge in sorted(wanted) if edge not in now]
    return out


def literal(document: Document, operations: Iterable[Any_]) -> list[Any_]:
    """Operations as somebody wrote them, for a document in this form: an object goes with all that is in it. Raises Malformed for
    what would leave no JSON value."""
    out: list[Any_] = []
    names = dict.fromkeys(document.nodes)
    for operation in operations:
        _check_form(operation)
        if isinstance(operation, DelNode):
            if operation.id == ROOT:
                raise Malformed("the root goes only with the document: delete that")
            for node in sorted((node for node in names if node.startswith(operation.id + "/")), reverse=True):
                out.append(DelNode(node))
                del names[node]
            names.pop(operation.id, None)
        elif isinstance(operation, AddNode):
            names[operation.id] = None
        out.append(operation)
    return out


def mends(document: Document, done: Sequence[Any_]) -> list[Any_]:
    """What makes a document whole again after these operations: an object that lacks the one it is in brings that back, empty;
    and an object stands against a plain value in its place."""
    added = {operation.id: None for operation in done if isinstance(operation, AddNode) and operation.id in document.nodes}
    if any(isinstance(operation, DelNode) for operation in done):
        added.update(dict.fromkeys(sorted(document.nodes)))
    missing: dict[str, None] = {}
    for node in added:
        missing.update(dict.fromkeys(_missing(document, node)))
    puts: dict[tuple[str, str], None] = {}
    for node in (*added, *missing):
        if node != ROOT:
            puts[above(node)] = None
        puts.update(((node, name), None) for name in document.nodes.get(node, ()) if below(node, name) in document.nodes)
    for operation in done:
        if isinstance(operation, IN_FIELD) and below(operation.node, operation.field) in document.nodes:
            puts[(operation.node, operation.field)] = None
    values = {(node, name): document.nodes.get(node, {}).get(name) for node, name in puts}
    return [
        *(AddNode(node) for node in sorted(missing)),
        *(Put(node, name, None, value) for (node, name), value in sorted(values.items()) if value is not None),
    ]


def _missing(document: Document, node: str) -> Iterator[str]:
    while node != ROOT:
        node, _ = above(node)
        if node in document.nodes:
            return
        yield node


# Values ---------------------------------------------------------------------------------------------------------------


def _nodes(node: str, members: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    if node.count("/") > OBJECTS_DEEP_MAX:
        raise Malformed(f"objects are nested {OBJECTS_DEEP_MAX} deep at most")
    objects = {name: inner for name, inner in members.items() if _is_object(inner)}
    yield node, {_free(name): _field(inner) for name, inner in members.items() if name not in objects}
    for name, inner in objects.items():
        yield from _nodes(below(node, _free(name)), inner)


def _is_object(value: Json) -> bool:
    return isinstance(value, dict) and ITEMS not in value


def _field(value: Json) -> Json:
    """A member that is no object, as a field holds it."""
    if value is None:
        return NULL
    if isinstance(value, dict) and not items_of(value):
        raise Malformed("a list without items is no value: leave it out")
    return value


def _free(name: str) -> str:
    if name in RESERVED:
        raise Malformed(f"{name} has a meaning of its own here, and cannot be the name of a member")
    return name


def _edges(value: Json) -> list[tuple[str, str, str]]:
    if not isinstance(value, list) or not all(_is_edge(edge) for edge in value):
        raise Malformed(f"{EDGES} is a list of [source, target, kind], the pointers of two objects and a word")
    return [(edge[0], edge[1], edge[2] if len(edge) == 3 else "") for edge in value]


def _is_edge(edge: Json) -> bool:
    return isinstance(edge, list) and len(edge) in (2, 3) and all(isinstance(part, str) for part in edge)


def _shown(objects: dict[str, dict[str, Json]], node: str) -> dict[str, Json]:
    if (shown := objects.get(node)) is None:
        parent, name = above(node)
        shown = objects[node] = {}
        (objects.get(parent) or _shown(objects, parent))[name] = shown
    return shown


def _kind(value: Json) -> str:
    return {type(None): "null", bool: "a truth value", list: "an array", str: "a string"}.get(type(value), "a number")


# Operations -----------------------------------------------------------------------------------------------------------


def _in_field(node: str, name: str, old: Json, new: Json) -> Iterator[Any_]:
    """A list of items is edited item by item, all else put whole."""
    if same_json(old, new):
        return
    if not (_is_list(old) and _is_list(new)):
        yield Put(node, name, new, old)
        return
    before, after = items_of(old), items_of(new)
    for id in sorted(before.keys() | after.keys()):
        was, now = before.get(id), after.get(id)
        if was is not None and now is not None and same_json(was[1], now[1]):
            if was[0] != now[0]:
                yield Move(node, name, id, now[0], was[0])
            continue
        if was is not None:
            yield Rem(node, name, id, was[0], was[1])
        if now is not None:
            yield Ins(node, name, id, now[0], now[1])


def _is_list(value: Json) -> bool:
    return isinstance(value, dict) and ITEMS in value


def _patched(document: Document, node: str, members: dict[str, Json]) -> Iterator[Any_]:
    if node.count("/") > OBJECTS_DEEP_MAX:
        raise Malformed(f"objects are nested {OBJECTS_DEEP_MAX} deep at most")
    if node not in document.nodes:
        yield AddNode(node)
    fields = document.nodes.get(node, {})
    for name, new in members.items():
        child, old = below(node, _free(name)), fields.get(name)
        if isinstance(new, dict) and (_is_list(old) or ITEMS in new):
            if child in document.nodes:
                raise Malformed(f"{child} is an object, and a list of items cannot be merged into it: remove it first")
            value = merged(old, new)
            yield from _in_field(node, name, old, None if value == {ITEMS: {}} else _field(value))
        elif isinstance(new, dict):
            if old is not None:
                yield Put(node, name, None, old)
            yield from _patched(document, child, new)
        else:
            yield from _gone(document, child)
            yield from _in_field(node, name, old, new)


def _gone(document: Document, node: str) -> Iterator[Any_]:
    """An object goes with all that is in it."""
    if node in document.nodes:
        inside = sorted((each for each in document.nodes if each.startswith(node + "/")), reverse=True)
        for each in (*inside, node):
            yield DelNode(each, document.nodes[each])


def _check_form(operation: Any_) -> None:
    for node in (getattr(operation, name, "") for name in ("node", "source", "target")):
        _check_pointer(node)
    if isinstance(operation, AddNode | DelNode):
        _check_pointer(operation.id)
    if (field := getattr(operation, "field", None)) is not None:
        _free(field)
    values = [operation.new] if isinstance(operation, Put) else []
    if isinstance(operation, AddNode):
        values += operation.fields.values()
        for name in operation.fields:
            _free(name)
    for value in values:
        if isinstance(value, dict) and not _is_list(value) and not same_json(value, NULL):
            raise Malformed("a field holds no object: an object is a node of its own (add_node)")


def _check_pointer(node: str) -> None:
    if node and (not node.startswith("/") or below(*above(node)) != node):
        raise Malformed(f"{node!r} is no JSON pointer of an object: /name, and in it /name/inner (~0 is ~, ~1 is /)")
    if node.count("/") > OBJECTS_DEEP_MAX:
        raise Malformed(f"objects are nested {OBJECTS_DEEP_MAX} deep at most")
