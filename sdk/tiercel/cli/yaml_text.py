"""YAML that people keep in files, by its core schema (1.2): `no`, `on` and dates are text, as in definitions."""

import re
from typing import Any

import yaml


class _Core(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where half of the short words are truth values and a date is no text."""


_BOOLEAN, _DATE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_Core.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOLEAN, _DATE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Core.add_implicit_resolver(_BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def read_yaml(text: str) -> Any:
    """The value in the text, which may be JSON. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Core)
