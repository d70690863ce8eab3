"""Trains one backbone under several settings, on the same rows, with several seeds, and compares.

No stage, and nothing else reads it: it answers whether over-sampling, a loss or the EMA help on
your data. All are judged on one fold of train that none of them learns from, or on generators or
sources that `compare.hold_out` leaves out; never on val.

Reads: artifacts/manifest/train.parquet, images below data.root, pretrained weights
Writes: artifacts/compare/compare.csv, compare.md, compare.png, and runs/ of which it resumes
Params: seed, data.root, images, weights, backbones, compare, and the sections that they override
"""

from pathlib import Path
from typing import Annotated

import typer

from features.errors import Stopped
from features.runtime.cli import Overrides, run_stage
from features.settings.compare import CompareParams
from features.settings.sections import load_params

OUT = Path("artifacts/compare")


def main(
    out: Annotated[Path, typer.Option(help="Folder of runs, tables and figure.")] = OUT,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop before a run that would not fit; 0 shows what is finished."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Compare settings of one backbone over seeds, on a fold of train."""
    params = load_params(CompareParams, overrides)
    from stage1_cnn.compare.run import run

    left = run(params, out, max_minutes)
    if left:
        names = ", ".join(one.name for one in left[:5]) + (" …" if len(left) > 5 else "")
        raise Stopped(f"with {len(left)} runs left: {names}")


if __name__ == "__main__":
    run_stage("stage1_cnn.compare", main)
