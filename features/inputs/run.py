"""What `python -m features.inputs` does."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.core.files import digest_file, write_json
from features.core.trusted import find_trusted
from features.errors import ManifestError
from features.inputs.contents import KnownContents, keep_contents
from features.inputs.pictures import describe_pictures, find_change
from features.inputs.settings import AllParams, check_all_params
from features.inputs.unused import PLACES, set_unused_aside
from features.inputs.weights import name_weights_file
from features.lists.folders import split_by_list
from features.lists.shard_files import find_shards, names_shards
from features.settings.data import Data, RoleFiles
from features.settings.members import Outside

OUT = Path("artifacts/inputs.json")
OUTSIDE = "outside_inputs.json"
"""Beside `OUT`: apart from it, so that other scores read no picture again."""
WEIGHTS = "weights"
"""Beside `OUT`: a folder, with a file for each backbone, so that others are not trained again."""
WATCHED = Path("data/demo")
"""What stage `demo` makes: a dependency of stages, so DVC itself notices what changes there."""
_log = logging.getLogger("forgerystack")


def look_at_inputs(params: AllParams) -> dict[str, Any]:
    """`describe_inputs`; what pictures hold is kept beside the image store."""
    with keep_contents(Path(params.images.store_dir) / "contents.json") as contents:
        return describe_inputs(params.data, contents)


def describe_inputs(data: Data, contents: KnownContents) -> dict[str, Any]:
    """Place, size and sha256 of each role's label file, or the place of its class folders; what
    lies there as pictures; and the label overrides, if there are any.

    Raises `ManifestError` with every file or folder that is not there.
    """
    facts: dict[str, Any] = {"root": data.root}
    problems: list[str] = []
    lists = _split_roles(data, problems)
    for name, files in lists.items():
        role = name.partition("/")[0]
        problems += _find_image_problems(data, role, files.images)
        if files.labels is None:
            facts[name] = {"images": files.images}
        elif (labels := Path(data.root) / files.labels).is_file():
            facts[name] = {"labels": files.labels, **_describe_file(labels)}
        else:
            problems.append(f"data.{role}.labels: no file {labels}")
    if data.label_overrides is not None:
        overrides = Path(data.label_overrides)
        if overrides.is_file():
            facts["label_overrides"] = {"file": str(overrides), **_describe_file(overrides)}
        else:
            problems.append(f"data.label_overrides: no file {overrides} in {Path.cwd()}")
    if problems:
        raise ManifestError("data", problems, "What you do not have is set to null.")
    trusted = find_trusted(data.trusted)
    for name, files in lists.items():
        if files.images is not None and Path(data.root) != WATCHED:
            found = describe_pictures(Path(data.root), files.images, trusted, contents)
            facts[name]["pictures"] = found
    return facts


def _split_roles(data: Data, problems: list[str]) -> dict[str, RoleFiles]:
    """The files of each role by its name; of a role with several lists by `role/list`."""
    found: dict[str, RoleFiles] = {}
    for role in data.roles:
        try:
            parts = [part.roles[role] for part in split_by_list(data, role)]
        except ManifestError as error:
            problems += [f"data.{role}.labels: {problem}" for problem in error.problems]
            continue
        for files in parts:
            found[role if files == data.roles[role] else f"{role}/{files.labels}"] = files
    return found


def _find_image_problems(data: Data, role: str, images: str | None) -> list[str]:
    """Where there is neither a folder nor a shard, or shards that cannot be read."""
    if images is None:
        return []
    place = Path(data.root) / images
    if not place.is_dir() and not names_shards(images):
        return [f"data.{role}.images: no folder {place}"]
    try:
        find_shards(Path(data.root), images, find_trusted(data.trusted))
    except ManifestError as error:
        return [f"data.{role}.images: {place}: {problem}" for problem in error.problems]
    return []


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


def note_weights(params: AllParams, folder: Path) -> bool:
    """Writes the sha256 of each backbone's file of pretrained weights; whether any is another now.

    One that `params.yaml` names and that is not there counts as it did before: who was given
    results need not have it.
    """
    before = {path.stem: _read_earlier(path) for path in sorted(folder.glob("*.json"))}
    resolved = {name: params.resolve_backbone(name) for name in params.backbones}
    after = {}
    with keep_contents(Path(params.images.store_dir) / "weights.json") as contents:
        for name, settings in resolved.items():
            model = re.sub(r"^(hf[-_]hub:)?timm/", "", settings.model)
            path = name_weights_file(settings, model)
            digest = contents.digest([str(path)], "weights")[0] if path is not None else ""
            after[name] = {"sha256": digest} if digest else {}
            if path is not None and not digest and settings.pretrained is not True:
                after[name] = before.get(name, {})
    for name in after.keys() & before.keys():
        if after[name] != before[name]:
            what = "has other pretrained weights: it is trained again"
            _log.info("inputs: backbones.%s %s", name, what)
    for name in before.keys() - after.keys():
        (folder / f"{name}.json").unlink()
    folder.mkdir(parents=True, exist_ok=True)  # DVC wants it where there is no backbone, too
    for name, facts in after.items():
        write_json(folder / f"{name}.json", facts)
    return after != before


def _describe_file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def _read_earlier(out: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(out.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def tell_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Says which roles have other pictures than `before`, so that `prepare` runs again."""
    roles = {name for name in after if name.partition("/")[0] in ("train", "val", "test")}
    for name in sorted(roles & before.keys()):
        seen, found = (facts[name].get("pictures") for facts in (before, after))
        if seen and found and (change := find_change(seen, found)):
            _log.info("inputs: data.%s has %s: prepare runs again", name, change)


def run(values: Mapping[str, Any], out: Path = OUT) -> AllParams:
    """Checks all settings, then writes the facts of what the data are read from to `out`."""
    params = check_all_params(values)
    set_unused_aside(list(params.backbones), params.folds.active)
    facts, outside = look_at_inputs(params), describe_outside(params.outside)
    tell_changes(_read_earlier(out), facts)
    write_json(out, facts)
    write_json(out.with_name(OUTSIDE), outside)
    note_weights(params, out.with_name(WEIGHTS))
    if not params.backbones:  # no stage makes these then, and DVC wants what others depend on
        for place in PLACES:
            (out.parent / place.name).mkdir(exist_ok=True)
    return params
