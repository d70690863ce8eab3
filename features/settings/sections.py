"""`params.yaml` into typed, frozen settings; all problems of the file reported together.

Each stage owns a pydantic model of the sections that it reads (`*_params.py`), so a change for one
stage re-runs that one. `features.inputs` checks the whole file before any work.
"""

import copy
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from features.errors import ConfigError

PARAMS_FILE = Path("params.yaml")


class Section(BaseModel):
    """One section of `params.yaml`: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StageParams(Section):
    """The sections that one stage reads; the others are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Params = TypeVar("Params", bound=BaseModel)


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
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ConfigError(source, [f"no valid YAML: {error}"]) from error


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
            found = f", found {item['input']!r}" if scalar else ""
            lines = item["msg"].removeprefix("Value error, ").splitlines()
            problems += [f"{head}{line}{found}" for line in lines]
    return problems


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
