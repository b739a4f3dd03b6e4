"""YAML as a stream of words: the C parser of PyYAML gives events, and nothing in the text can make an object of a class.

PyYAML's own composer is not used: it recurses in C, so deep nesting ends the process, and it lets aliases multiply.
"""

import re
from math import inf

import yaml

from workflow.marks import Marks, TextRefused

TAG_RULE = "no tags but !!str"
_WORDS: dict[str, bool | None] = {"": None, "~": None, "true": True, "false": False, "null": None} | {
    **dict.fromkeys(("True", "TRUE"), True),
    **dict.fromkeys(("False", "FALSE"), False),
    **dict.fromkeys(("Null", "NULL")),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_STARTS = frozenset("-+.0123456789")
_DIGITS_MAX = 40  # Beyond it no number is one that JSON readers agree on.


def mark_yaml(text: str) -> Marks:
    """The document in a text. Raises TextRefused."""
    marks = Marks()
    documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise TextRefused("a second document begins here", _line(event), "one document")
            _take(event, marks)
    except yaml.YAMLError as error:
        raise _refusal(error, text) from None
    except UnicodeEncodeError:
        raise TextRefused("the text is no Unicode", 1, "UTF-8") from None
    return marks


def _take(event: yaml.Event, marks: Marks) -> None:
    line = _line(event)
    match event:
        case yaml.ScalarEvent():
            if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
                raise TextRefused(f"the tag {event.tag} is not read", line, TAG_RULE)
            if marks.awaits_key():
                marks.key(event.value, line)
            else:
                is_plain = event.implicit[0] and event.tag is None
                marks.value(plain_value(event.value) if is_plain else event.value, line, event.anchor)
        case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
            if event.tag not in {None, "!"}:
                raise TextRefused(f"the tag {event.tag} is not read", line, TAG_RULE)
            if marks.awaits_key():
                raise TextRefused("a list or mapping stands where a key is needed", line, "text as keys")
            marks.open({} if isinstance(event, yaml.MappingStartEvent) else [], line, event.anchor)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            marks.close()
        case yaml.AliasEvent():
            if marks.awaits_key():
                raise TextRefused("an alias stands where a key is needed", line, "text as keys")
            marks.alias(event.anchor or "", line)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def plain_value(text: str) -> str | int | float | bool | None:
    """What a word without quotes is by the core schema of YAML 1.2 (section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _WHOLE.fullmatch(text):
        radix = 0 if text[:2] in {"0o", "0x"} else 10
        return int(text, radix) if len(text) <= _DIGITS_MAX else inf
    return float(text) if _FRACTION.fullmatch(text) else text


def _refusal(error: yaml.YAMLError, text: str) -> TextRefused:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.problem, error.context) if part)
        return TextRefused(f"this is no YAML: {said}", mark.line + 1 if mark else 1)
    if isinstance(error, yaml.reader.ReaderError):
        line = text.encode()[: error.position].count(b"\n") + 1 if error.position >= 0 else 1
        return TextRefused(f"this is no YAML: {error.reason}", line)
    return TextRefused(f"this is no YAML: {error}", 1)
