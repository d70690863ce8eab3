"""What one member says about the rows that it did not learn from.

Reads: artifacts/members/<backbone>/<fold>/weights.safetensors,
    artifacts/members/<backbone>/<fold>/member.json, artifacts/manifest/train.parquet,
    artifacts/manifest/val.parquet, artifacts/manifest/test.parquet, images below data.root
Writes: artifacts/dumps/<backbone>/<fold>
Params: data.root, images.size, images.equalize, dump
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.runtime.interruption import MaxMinutes
from features.runtime.resume import read_resume_dir
from features.settings.scoring import DumpParams
from features.settings.sections import load_params
from stage1_cnn.runtime.options import ProcessCount, is_launched


def main(
    backbone: Annotated[str, typer.Option(help="Name of an entry of `backbones`.")],
    fold: Annotated[int, typer.Option(help="Fold that the member left out.")] = 0,
    member: Annotated[Path | None, typer.Option(help="Folder that train --out wrote.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the dumps.")] = None,
    max_minutes: MaxMinutes = None,
    processes: ProcessCount = 1,
    overrides: Overrides = None,
) -> None:
    """Dump one member's scores of its fold, val and test. Cut off, the same command goes on."""
    params, in_file = (load_params(DumpParams, given) for given in (overrides, None))
    from stage1_cnn.dump.run import MEMBERS, OUT, run, select_dump_settings
    from stage1_cnn.runtime.launch import launch_processes
    from stage1_cnn.runtime.runs import RunLimits, resolve_out_dir

    given, kept = (select_dump_settings(p, backbone) for p in (params, in_file))
    folder = resolve_out_dir(out, OUT / backbone / str(fold), given, kept)
    if processes > 1 and not is_launched():
        launch_processes("stage1_cnn.dump", sys.argv[1:], processes)
        return
    member_dir = member or MEMBERS / backbone / str(fold)
    limits = RunLimits(read_resume_dir(overrides), max_minutes)
    run(params, backbone, fold, member_dir, folder, limits)


if __name__ == "__main__":
    run_stage("stage1_cnn.dump", main)
