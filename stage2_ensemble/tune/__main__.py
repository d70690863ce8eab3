"""Searches settings of the LightGBM stacker on half of the fold rows, and judges on the other half.

No stage: `stack` reads nothing of it but what it writes into params.yaml, if asked. Val is never
looked at. Goes on where it was stopped or killed.

Reads: artifacts/manifest/train.parquet, artifacts/dumps, artifacts/outside,
    artifacts/forensics
Writes: artifacts/tune/tuning.json, and trials.journal of which it resumes
Params: seed, folds.active, backbones, outside, stack, gate, decision, label, resume_dir
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.runtime.cluster import open_workers
from features.settings.sections import load_params
from stage2_ensemble.tune.settings import MINUTES, OUT, TuneParams


def main(
    minutes: Annotated[
        float, typer.Option(min=0, help="Search so long, over all runs; 0 shows what is finished.")
    ] = MINUTES,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Search until there are so many, over all runs.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Tune lightgbm or lightgbm_pca alone.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Set what changed in params.yaml.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the trials.")] = OUT,
    overrides: Overrides = None,
) -> None:
    """Tune the LightGBM stacker on half of the fold rows; the other half judges."""
    params = load_params(TuneParams, overrides)
    from stage2_ensemble.tune.run import SearchBudget, run

    with open_workers(params.stack.engine, overrides, params.stack.dask_workers):
        run(params, out, SearchBudget(minutes, trials), candidate, write)


if __name__ == "__main__":
    run_stage("stage2_ensemble.tune", main)
