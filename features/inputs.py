"""Checks all of `params.yaml`, and notes what label files, class folders and overrides hold now.

Runs at every `dvc repro`: these are named by params and may be absent, so they cannot be
dependencies of a DVC stage themselves.

Reads: params.yaml, data/demo, label files and class folders below data.root, data.label_overrides
Writes: artifacts/inputs.json
Params: –
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from features.core.files import digest_file, write_json
from features.core.manifest import ROLES
from features.errors import ManifestError
from features.lists.class_folders import describe_folder
from features.runtime.budget import Budget
from features.runtime.cli import Overrides, run_stage
from features.settings.compare import CompareParams
from features.settings.data import Data, PrepareParams
from features.settings.demo import DemoSection
from features.settings.perturb import PerturbSection
from features.settings.report import Report
from features.settings.scoring import DumpParams
from features.settings.sections import Place, apply_overrides, read_yaml, validate_params
from features.settings.stacking import Decision, Gate, Label, Stack

OUT = Path("artifacts/inputs.json")


class AllParams(CompareParams, PrepareParams, DumpParams, extra="forbid"):
    """Every section that any stage reads, checked at once before any work.

    All must stand in the file, because DVC tracks them.
    """

    data: Data  # type: ignore[assignment]  # the whole section, not the root alone
    demo: DemoSection
    perturb: PerturbSection
    stack: Stack
    gate: Gate
    decision: Decision
    label: Label
    report: Report
    budget: Budget = Budget()
    resume_dir: Place = ".resume"

    @model_validator(mode="after")
    def _check_dump(self) -> Self:
        """In place of the check of `DumpParams`, which knows of no backbones."""
        if problems := self.dump.find_problems(self.images.size, self.backbones):
            raise ValueError("\n".join(problems))  # one problem a line
        return self


def check_all_params(values: Mapping[str, Any], source: str = "params.yaml") -> AllParams:
    """`values` as settings of all stages; raises `ConfigError` with every problem of the file."""
    return validate_params(AllParams, values, source)


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
    write_json(out, describe_inputs(params.data))
    return params


def main(overrides: Overrides = None) -> None:
    """Check params.yaml and note what the label files and class folders hold."""
    run(apply_overrides(read_yaml(), overrides))


if __name__ == "__main__":
    run_stage("features.inputs", main)
