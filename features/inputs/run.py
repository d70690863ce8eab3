"""What `python -m features.inputs` does."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.core.files import digest_file, write_json
from features.core.manifest import ROLES
from features.core.trusted import find_trusted
from features.errors import ManifestError
from features.inputs.pictures import describe_pictures, find_change
from features.inputs.settings import AllParams, check_all_params
from features.lists.class_folders import describe_folder
from features.runtime.unused import PLACES, set_unused_aside
from features.settings.data import Data
from features.settings.members import Outside

OUT = Path("artifacts/inputs.json")
OUTSIDE = "outside_inputs.json"
"""Beside `OUT`: apart from it, so that other scores read no picture again."""
WATCHED = Path("data/demo")
"""What stage `demo` makes: a dependency of this one, so DVC itself notices what changes there."""
_log = logging.getLogger("forgerystack")


def describe_inputs(data: Data) -> dict[str, Any]:
    """Place, size and sha256 of each role's label file, or count and digest of its class folders;
    what is cheap to know of its pictures; and the label overrides, if there are any.

    Raises `ManifestError` with every file or folder that is not there.
    """
    facts: dict[str, Any] = {"root": data.root}
    trusted = find_trusted(data.trusted)
    problems = []
    for role in ROLES:
        files = getattr(data, role)
        if files is None:
            continue
        images = None if files.images is None else Path(data.root) / files.images
        if images and not images.is_dir():
            problems.append(f"data.{role}.images: no folder {images}")
            images = None
        if files.labels is None:
            if images:
                facts[role] = {"images": files.images, **describe_folder(images, trusted)}
                facts[role] |= _describe_images(data, images, trusted)
            continue
        labels = Path(data.root) / files.labels
        if not labels.is_file():
            problems.append(f"data.{role}.labels: no file {labels}")
            continue
        facts[role] = {"labels": files.labels, **_describe_file(labels)}
        if images:
            facts[role] |= _describe_images(data, images, trusted)
    if data.label_overrides is not None:
        overrides = Path(data.label_overrides)
        if overrides.is_file():
            facts["label_overrides"] = {"file": str(overrides), **_describe_file(overrides)}
        else:
            problems.append(f"data.label_overrides: no file {overrides} in {Path.cwd()}")
    if problems:
        raise ManifestError("data", problems, "What you do not have is set to null.")
    return facts


def describe_outside(outside: Outside) -> dict[str, Any]:
    """Size and sha256 of each detector's table. Raises `ManifestError` with all that lack."""
    missing = [
        f"outside.{name}.scores: no file {detector.scores} in {Path.cwd()}"
        for name, detector in outside.items()
        if not Path(detector.scores).is_file()
    ]
    if missing:
        raise ManifestError("outside", missing)
    return {name: _describe_file(Path(detector.scores)) for name, detector in outside.items()}


def _describe_file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def _describe_images(data: Data, folder: Path, trusted: tuple[str, ...]) -> dict[str, Any]:
    """The pictures below `folder`, unless DVC watches them itself."""
    return {} if Path(data.root) == WATCHED else {"pictures": describe_pictures(folder, trusted)}


def _read_earlier(out: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(out.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def tell_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Says which roles have other pictures than `before`, so that `prepare` runs again."""
    for role in ROLES:
        seen, found = (facts.get(role, {}).get("pictures") for facts in (before, after))
        if seen and found and (change := find_change(seen, found)):
            _log.info("inputs: data.%s has %s: prepare runs again", role, change)


def run(values: Mapping[str, Any], out: Path = OUT) -> AllParams:
    """Checks all settings, then writes the facts of what the data are read from to `out`."""
    params = check_all_params(values)
    set_unused_aside(list(params.backbones), params.folds.active)
    facts, outside = describe_inputs(params.data), describe_outside(params.outside)
    tell_changes(_read_earlier(out), facts)
    write_json(out, facts)
    write_json(out.with_name(OUTSIDE), outside)
    if not params.backbones:  # no stage makes these then, and DVC wants what others depend on
        for place in PLACES:
            (out.parent / place.name).mkdir(exist_ok=True)
    return params
