"""`params.yaml` into typed, frozen settings; all problems of the file reported together.

Each stage owns a pydantic model of the sections that it reads (`*_params.py`), so a change for one
stage re-runs that one. `features.inputs` checks the whole file before any work.
"""

import copy
import difflib
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from features.errors import ConfigError

PARAMS_FILE = Path("params.yaml")
LARGEST = 4 << 20
"""Bytes of a YAML file."""
MOST_VALUES = 200_000
"""Values of a YAML file, each as often as aliases repeat it."""
SHOWN_CHARACTERS = 80
"""Of a value in a message."""


class Section(BaseModel):
    """One section of `params.yaml`: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StageParams(Section):
    """The sections that one stage reads; the others are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


Params = TypeVar("Params", bound=BaseModel)
Place = Annotated[str, AfterValidator(os.path.expanduser)]
"""A file or a folder; `~` is the home folder."""
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""scikit-learn takes 32 bits at most, of the larger seeds of repeats and folds, too."""


def read_yaml(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """The file as a mapping."""
    if not path.is_file():
        advice = "Run in the project's folder, or copy one of presets/*.yaml to params.yaml."
        raise ConfigError(str(path), [f"there is no such file in {Path.cwd()}"], advice)
    values = _parse_yaml(path.read_bytes(), str(path))
    if not isinstance(values, dict):
        raise ConfigError(str(path), ["the top level must be a mapping of sections"])
    return values


def _parse_yaml(text: str | bytes, source: str) -> Any:
    """Raises `ConfigError`, too, for what DVC refuses: a key that stands twice in a section."""
    if len(text) > LARGEST:
        raise ConfigError(source, [f"it has {len(text):,} bytes, more than {LARGEST:,}"])
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        problems: list[str] = []
        if node is not None and _count_values(node, {}, problems) > MOST_VALUES:
            problems = [f"its aliases (*name) make more than {MOST_VALUES:,} values of it"]
        if problems:
            raise ConfigError(source, problems)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ConfigError(source, [f"no valid YAML: {error}"]) from error
    except RecursionError:
        raise ConfigError(source, ["it is nested too deeply"]) from None


def _count_values(node: yaml.Node, counted: dict[int, int], problems: list[str]) -> int:
    """Values at and below a node, those behind aliases each time; adds keys that stand twice."""
    if id(node) in counted:
        if not counted[id(node)]:
            problems.append(f"line {node.start_mark.line + 1}: it holds itself")
        return counted[id(node)]
    if not isinstance(node, yaml.CollectionNode):
        return 1
    counted[id(node)] = 0  # until it is known
    children = node.value
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key.value, str) and first.setdefault(key.value, line) != line:
                above = first[key.value]
                problems.append(f"line {line}: {key.value} stands in line {above} already")
        children = [child for pair in node.value for child in pair]
    count = 1 + sum(_count_values(child, counted, problems) for child in children)
    counted[id(node)] = count
    return count


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str] | None) -> dict[str, Any]:
    """`values` with each `a.b=value` set; the value is read as YAML. `values` is left as it is."""
    result = copy.deepcopy(dict(values))
    for override in overrides or ():
        name, separator, text = override.partition("=")
        if not separator or not name:
            raise ConfigError("--set", [f"{override!r} is not of the form a.b=value"])
        *parents, last = name.split(".")
        node = result
        for parent in parents:
            child = node.get(parent)
            node[parent] = child = {} if child is None else child
            if not isinstance(child, dict):
                raise ConfigError("--set", [f"{name}: {parent} is {child!r}, not a section"])
            node = child
        node[last] = _parse_yaml(text, f"--set {name}")
    return result


def load_params(
    model: type[Params], overrides: Sequence[str] | None = None, path: Path = PARAMS_FILE
) -> Params:
    """The sections of `model` from the file, with `overrides` applied.

    Raises `ConfigError` with every problem of these sections.
    """
    return validate_params(model, apply_overrides(read_yaml(path), overrides), str(path))


def validate_params(model: type[Params], values: Mapping[str, Any], source: str) -> Params:
    """`values` as `model`; raises `ConfigError` with all problems."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(source, describe_problems(model, error)) from error


def describe_problems(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line a problem: `schedule.epoch: unknown; did you mean epochs?`."""
    problems = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _known_names(model, item["loc"][:-1])
            problems.append(f"{place}: unknown{suggest_name(str(item['loc'][-1]), known)}")
        elif item["type"] == "missing":
            problems.append(f"{place}: missing")
        else:
            head = f"{place}: " if place else ""
            scalar = not isinstance(item["input"], dict | BaseModel)
            found = f", found {_show(item['input'])}" if scalar else ""
            problems += [f"{head}{line}{found}" for line in _say_plainly(item)]
    return problems


def _say_plainly(item: Mapping[str, Any]) -> list[str]:
    """What is wrong with a value, in the words of `params.yaml`."""
    if item["type"] in _WANTED:
        return [f"must be {_WANTED[item['type']]}"]
    message = str(item["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be").splitlines()


_WANTED = {
    "model_type": "a section, such as {key: value}; {} has the defaults",
    "dict_type": "a mapping, such as {name: value}",
    "tuple_type": "a list, such as [value]",
    "list_type": "a list, such as [value]",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
}


def _show(value: Any) -> str:
    """A value as `params.yaml` has it, cut where it is long."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def suggest_name(name: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or the list of known names where none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _known_names(model: type[BaseModel], place: Sequence[object]) -> list[str]:
    """Field names of the model at `place` below `model`."""
    annotation: Any = model
    for part in place:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            annotation = _strip_optional(field.annotation) if field else None
        elif typing.get_origin(annotation) is dict:
            annotation = _strip_optional(typing.get_args(annotation)[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def _strip_optional(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        models = [a for a in typing.get_args(annotation) if a is not type(None)]
        return models[0]
    return annotation
