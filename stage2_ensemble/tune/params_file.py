"""Changes single values of `params.yaml` where they stand: no other byte of the file moves.

DVC's own `-S` writes the whole file anew by ruamel.yaml, which may break lines elsewhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from features.core.files import write_text
from features.errors import ConfigError
from features.settings.sections import apply_overrides, read_yaml


def write_values(changes: Mapping[str, Any], path: Path) -> None:
    """Sets each `section.key` of the file, atomically. Raises `ConfigError` as `set_values`."""
    read_yaml(path)
    with open(path, encoding="utf-8", newline="") as file:  # line ends stay as they are
        text = file.read()
    write_text(path, set_values(text, changes, str(path)))


def set_values(text: str, changes: Mapping[str, Any], source: str = "params.yaml") -> str:
    """`text` with each `section.key` set to a number, a word or null.

    A key that is not there yet comes before the others of its section. Raises `ConfigError` if
    that cannot be done in place, such as where a section is missing.
    """
    wanted = apply_overrides(yaml.safe_load(text), [f"{k}={_dump(v)}" for k, v in changes.items()])
    try:
        for name, value in changes.items():
            section, key = name.split(".")
            text = _set_value(text, section, key, _dump(value))
        is_right = yaml.safe_load(text) == wanted
    except yaml.YAMLError:
        is_right = False
    if not is_right:  # no such section, a list, an anchor that others refer to
        problem = "cannot be changed in place: " + ", ".join(changes)
        advice = "Set by hand: " + ", ".join(f"{k}: {_dump(v)}" for k, v in changes.items())
        raise ConfigError(source, [problem], advice)
    return text


def _find_mapping(text: str, section: str) -> yaml.MappingNode | None:
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == section and isinstance(value, yaml.MappingNode):
                return value
    return None


def _set_value(text: str, section: str, key: str, value: str) -> str:
    """`text` as it is where the section is not there, or the key holds no plain value."""
    mapping = _find_mapping(text, section)
    if mapping is None or not mapping.value:
        return text
    for node, old in mapping.value:
        if node.value == key:
            if not isinstance(old, yaml.ScalarNode):
                return text
            start, end = old.start_mark.index, old.end_mark.index
            return text[:start] + value + _move_comment(text[end:], len(value) - (end - start))
    first = mapping.value[0][0].start_mark
    line_end = "\r\n" if "\r\n" in text else "\n"
    separator = ", " if mapping.flow_style else line_end + " " * first.column
    return f"{text[: first.index]}{key}: {value}{separator}{text[first.index :]}"


def _move_comment(rest: str, longer: int) -> str:
    """What follows a value that got `longer`: a comment beside it keeps its column, if it can."""
    spaces = len(rest) - len(rest.lstrip(" "))
    if not rest[spaces:].startswith("#"):
        return rest
    return " " * max(1, spaces - longer) + rest[spaces:]


def _dump(value: Any) -> str:
    """`0.05`, `balanced`, `null`: on one line."""
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
