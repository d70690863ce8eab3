"""Trains one member: backbone NAME on all train rows but those of one fold.

Reads: artifacts/manifest/train.parquet, artifacts/weights/<backbone>.json,
    images below data.root, pretrained weights
Writes: artifacts/members/<backbone>/<fold>/weights.safetensors,
    artifacts/members/<backbone>/<fold>/member.json,
    artifacts/members/<backbone>/<fold>/history.csv,
    artifacts/members/<backbone>/<fold>/train.sums.json
Params: seed, data.root, images.size, images.mode, images.equalize, weights, sampling, loss,
    optimizer, schedule, ema, augment, network, backbones.<backbone>
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from features.runtime.budget import BudgetParams
from features.runtime.cli import Overrides, find_starter, run_stage
from features.runtime.interruption import MaxMinutes
from features.runtime.resume import read_resume_dir
from features.runtime.terminal import log
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.runtime.options import SAVE_MINUTES, ProcessCount, is_launched


def main(
    backbone: Annotated[str, typer.Option(help="Name of an entry of `backbones`.")],
    fold: Annotated[int, typer.Option(help="Fold that the member leaves out.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for a run with other settings.")] = None,
    max_minutes: MaxMinutes = None,
    save_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between saved states; 0: after each step.")
    ] = SAVE_MINUTES,
    processes: ProcessCount = 1,
    overrides: Overrides = None,
) -> None:
    """Train one member and keep its averaged weights. Cut off, the same command goes on."""
    params, in_file = (load_params(TrainParams, given) for given in (overrides, None))
    settings = params.resolve_backbone(backbone)
    from stage1_cnn.networks.network import check_image_size, settle_network
    from stage1_cnn.runtime.budget import describe_budget
    from stage1_cnn.runtime.launch import launch_processes
    from stage1_cnn.runtime.runs import RunLimits, resolve_out_dir
    from stage1_cnn.train.run import OUT, run, select_train_settings

    given, kept = (select_train_settings(p, backbone) for p in (params, in_file))
    folder = resolve_out_dir(out, OUT / backbone / str(fold), given, kept)
    if not is_launched():
        # For the log alone: a limit that changes re-trains nothing.
        budget = load_params(BudgetParams, overrides)
        log.info(describe_budget(params, len(budget.folds.active), budget.budget.parameters))
        check_image_size(settle_network(settings))
    if processes > 1 and not is_launched():
        launch_processes("stage1_cnn.train", sys.argv[1:], processes)
    else:
        limits = RunLimits(read_resume_dir(overrides), max_minutes, save_minutes)
        run(params, backbone, fold, folder, limits)
    if out is None and find_starter() is None:
        log.info("Keep it: dvc commit -f train@%s-%d", backbone, fold)


if __name__ == "__main__":
    run_stage("stage1_cnn.train", main)
