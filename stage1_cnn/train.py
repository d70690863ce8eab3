"""Trains one member: backbone NAME on all train rows but those of one fold.

Reads: artifacts/manifest/train.parquet, images below data.root, pretrained weights
Writes: artifacts/members/<backbone>/<fold>/weights.safetensors,
    artifacts/members/<backbone>/<fold>/member.json,
    artifacts/members/<backbone>/<fold>/history.csv
Params: seed, data.root, images.size, images.equalize, weights, sampling, loss, optimizer,
    schedule, ema, augment, network, backbones.<backbone>
"""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from features.budget_params import BudgetParams
from features.cli import Overrides, run_stage
from features.errors import ConfigError
from features.files import digest_json, write_text
from features.manifest import LearnRows, Manifest, count_classes, read_manifest
from features.member_id import MemberId
from features.params import load_params
from features.store import open_store
from features.train_params import MemberSettings, TrainParams
from stage1_cnn.budget import describe_budget
from stage1_cnn.correction import compute_correction
from stage1_cnn.devices import pick_device
from stage1_cnn.judge import judge_fold
from stage1_cnn.loader import list_candidates
from stage1_cnn.member import Member, write_member
from stage1_cnn.network import check_image_size, settle_image_size
from stage1_cnn.training import Trained, train_network

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/members")
_log = logging.getLogger("forgerystack")


def describe_member(
    settings: MemberSettings, train: Manifest, rows: LearnRows, backbone: str, trained: Trained
) -> Member:
    """What is written beside the weights; the digest of the weights is filled in on writing."""
    candidates = list_candidates(train, rows, settings.sampling)
    correction = compute_correction(settings, candidates, train.weights[rows.row_ids])
    identity = MemberId(backbone, rows.fold, "", rows.manifest_digest, correction)
    reals, fakes = count_classes(candidates.labels)
    return Member(identity, settings, len(rows.row_ids), reals, fakes, trained.parameters)


def run(params: TrainParams, backbone: str, fold: int, out: Path) -> None:
    """Reads the train manifest and images, trains, writes weights, facts and history."""
    settings = settle_image_size(params.resolve_backbone(backbone))
    check_image_size(settings)
    train = read_manifest(MANIFEST, "train")
    rows = train.rows_to_learn(fold)
    store = open_store(train, Path(params.data.root), params.images)
    device = pick_device()
    _log.info(
        "train %s-%d: %s, %d rows, on %s", backbone, fold, settings.model, len(rows.row_ids), device
    )
    seed = int(digest_json([params.seed, backbone, fold])[:8], 16)
    trained = train_network(settings, store, train, rows, seed, device)
    judged = judge_fold(trained, settings, store, train, fold, device)
    member = replace(describe_member(settings, train, rows, backbone, trained), judged=judged)
    write_text(out / "history.csv", pd.DataFrame(trained.history).to_csv(index=False))
    write_member(trained.state, member, out)


def find_out(params: TrainParams, backbone: str, fold: int, out: Path | None) -> Path:
    """`out`, or the place that `dvc repro` uses if the settings are those of `params.yaml`.

    Otherwise the next `dvc repro` would take a member of other settings for its own.
    """
    if out is not None:
        return out
    kept = load_params(TrainParams)
    if backbone not in kept.backbones or _select(params, backbone) != _select(kept, backbone):
        problem = f"the settings of {backbone} differ from params.yaml"
        raise ConfigError("--set", [problem], "Name a folder for this run: --out DIR")
    return OUT / backbone / str(fold)


def _select(params: TrainParams, backbone: str) -> tuple[object, ...]:
    return params.data, params.images, params.resolve_backbone(backbone)


def main(
    backbone: Annotated[str, typer.Option(help="Name of an entry of `backbones`.")],
    fold: Annotated[int, typer.Option(help="Fold that the member leaves out.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for a run with other settings.")] = None,
    overrides: Overrides = None,
) -> None:
    """Train one member and keep its averaged weights."""
    params = load_params(TrainParams, overrides)
    params.resolve_backbone(backbone)
    # For the log alone: a limit that changes re-trains nothing.
    budget = load_params(BudgetParams, overrides)
    _log.info(describe_budget(params, len(budget.folds.active), budget.budget.parameters))
    run(params, backbone, fold, find_out(params, backbone, fold, out))
    if out is None and "DVC_STAGE" not in os.environ:
        _log.info("Keep it: dvc commit -f train@%s-%d", backbone, fold)


if __name__ == "__main__":
    run_stage("stage1_cnn.train", main)
