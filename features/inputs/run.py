"""What `python -m features.inputs` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.core.files import digest_file, write_json
from features.core.manifest import ROLES
from features.errors import ManifestError
from features.inputs.settings import AllParams, check_all_params
from features.prepare.class_folders import describe_folder
from features.runtime.unused import set_unused_aside
from features.settings.data import Data

OUT = Path("artifacts/inputs.json")


def describe_inputs(data: Data) -> dict[str, Any]:
    """Place, size and sha256 of each role's label file, or count and digest of its class folders;
    and of the label overrides, if there are any.

    Raises `ManifestError` with every file or folder that is not there.
    """
    facts: dict[str, Any] = {"root": data.root}
    problems = []
    for role in ROLES:
        files = getattr(data, role)
        if files is None:
            continue
        images = Path(data.root) / files.images
        if not images.is_dir():
            problems.append(f"data.{role}.images: no folder {images}")
        if files.labels is None:
            if images.is_dir():
                facts[role] = {"images": files.images, **describe_folder(images)}
            continue
        labels = Path(data.root) / files.labels
        if not labels.is_file():
            problems.append(f"data.{role}.labels: no file {labels}")
            continue
        facts[role] = {"labels": files.labels, **_describe_file(labels)}
    if data.label_overrides is not None:
        overrides = Path(data.label_overrides)
        if overrides.is_file():
            facts["label_overrides"] = {"file": str(overrides), **_describe_file(overrides)}
        else:
            problems.append(f"data.label_overrides: no file {overrides} in {Path.cwd()}")
    if problems:
        raise ManifestError("data", problems, "What you do not have is set to null.")
    return facts


def _describe_file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def run(values: Mapping[str, Any], out: Path = OUT) -> AllParams:
    """Checks all settings, then writes the facts of what the data are read from to `out`."""
    params = check_all_params(values)
    set_unused_aside(list(params.backbones), params.folds.active)
    write_json(out, describe_inputs(params.data))
    return params
