"""What all members say of val pictures under JPEG, blur, noise, …: for the robustness table.

A stated sample of val rows, perturbed on the device, once for all members and the forensic
features of the same pixels. Nothing is fitted or chosen on them. Without val it writes an empty
result, as with `perturb.rows: 0`.

Reads: artifacts/members, artifacts/manifest/val.parquet, images below data.root
Writes: artifacts/perturbed
Params: seed, data.root, images.size, images.equalize, dump, perturb, backbones, folds.active,
    outside
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.runtime.interruption import MaxMinutes
from features.runtime.resume import read_resume_dir
from features.settings.perturb import PerturbParams
from features.settings.sections import load_params


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    max_minutes: MaxMinutes = None,
    overrides: Overrides = None,
) -> None:
    """Score perturbed val pictures. Cut off, the same command goes on."""
    params, in_file = (load_params(PerturbParams, given) for given in (overrides, None))
    from stage1_cnn.perturb.run import OUT, run
    from stage1_cnn.runtime.runs import RunLimits, resolve_out_dir

    folder = resolve_out_dir(out, OUT, params.select_settings(), in_file.select_settings())
    run(params, folder, RunLimits(read_resume_dir(overrides), max_minutes))


if __name__ == "__main__":
    run_stage("stage1_cnn.perturb", main)
