"""What `python -m stage1_cnn.train` does."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from features.core.files import derive_seed, digest_bytes, write_text
from features.core.manifest import Ids, count_classes, read_manifest
from features.core.members import MemberId
from features.core.sums import write_sums
from features.crops.crop_store import open_member_store
from features.runtime.costs import Measured, record_seconds
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.run_folder import RunFolder, describe_run
from features.settings.training import TrainParams
from stage1_cnn.networks.devices import describe_device
from stage1_cnn.networks.member import Member, write_member
from stage1_cnn.networks.model_names import describe_model
from stage1_cnn.networks.network import check_image_size, settle_network
from stage1_cnn.networks.pretrained import digest_own_file
from stage1_cnn.runtime.runs import COMPUTING, RunLimits
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.loader import choose_rows, list_candidates
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import join_processes
from stage1_cnn.train.correction import compute_correction
from stage1_cnn.train.fold_curve import build_curve
from stage1_cnn.train.fold_metrics import UnseenScores, judge_unseen
from stage1_cnn.train.frozen_member import fit_member
from stage1_cnn.train.loop import Trained
from stage1_cnn.train.soup import train_member

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/members")
SUMS = "train.sums.json"
"""Seals the curve of a training; weights have their digest in `member.json`."""
NO_EPOCHS = ["epoch", "loss"]
"""Columns of the curve of a head, which was fitted at once: it has no rows."""
_log = logging.getLogger("forgerystack")


def prepare_task(params: TrainParams, backbone: str, fold: int) -> TrainingTask:
    """What the member learns from, and how. Raises `ConfigError` for what its network cannot do."""
    settings = settle_network(params.resolve_backbone(backbone))
    check_image_size(settings)
    train = read_manifest(MANIFEST, "train")
    rows = choose_rows(train, fold, settings.sampling, params.seed)
    shown = (settings.images.mode, settings.image_size)
    store = open_member_store(train, Path(params.data.root), params.images, *shown)
    return TrainingTask(settings, store, train, rows, derive_seed(params.seed, backbone, fold))


def describe_member(
    task: TrainingTask, backbone: str, trained: Trained, judged: dict[str, UnseenScores]
) -> Member:
    """What is written beside the weights; the digest of the weights is filled in on writing."""
    settings, rows = task.settings, task.rows
    candidates = list_candidates(task.train, rows, settings.sampling)
    correction = compute_correction(settings, candidates, task.row_weights)
    identity = MemberId(backbone, rows.fold, "", rows.manifest_digest, correction, trained.encoder)
    reals, fakes = count_classes(candidates.labels)
    counts = (len(rows.row_ids), reals, fakes)
    figures = {name: own.figures for name, own in judged.items()}
    return Member(identity, settings, *counts, *trained.parameters, figures)


def run(params: TrainParams, backbone: str, fold: int, out: Path, limits: RunLimits) -> None:
    """Reads the train manifest and images, trains, writes weights, facts and history.

    Goes on where a run with the same settings, rows, code and `out` was cut off. Raises `Stopped`,
    `LockedError`.
    """
    with join_processes() as processes, ExitStack() as held:
        if processes.is_first:
            held.enter_context(hold(out, limits.resume_dir))
        else:
            _log.setLevel(logging.WARNING)
        with processes.meet_after():  # each machine may decode into a store of its own
            task = prepare_task(params, backbone, fold)
        _log.info(
            "train %s-%d: %s, %d rows, on %s%s",
            backbone, fold, describe_model(params.backbones[backbone].model, task.settings.model),
            len(task.rows.row_ids), describe_device(processes.device),
            f", {processes.world} processes" if processes.world > 1 else "",
        )  # fmt: skip
        key = describe_training(task, params, out)
        kept = RunFolder(limits.resume_dir, f"train-{backbone}-{fold}", key)
        if processes.is_first:
            kept.open()
        with Interruption(limits.max_minutes) as interruption:
            sessions = Sessions(processes, interruption, kept.path, limits.save_minutes)
            unseen = task.train.fold_rows(fold)
            if task.settings.kind == "frozen":
                others = [params.resolve_backbone(name) for name in params.backbones]
                trained, judged = fit_member(task, unseen, params.images, sessions, others)
            else:
                trained, judged = _train(task, unseen, sessions)
        if processes.is_first:
            member = describe_member(task, backbone, trained, judged)
            history = pd.DataFrame(trained.history, columns=None if trained.history else NO_EPOCHS)
            write_text(out / "history.csv", history.to_csv(index=False))
            written = write_member(trained.state, member, out)
            write_sums(out / SUMS, [out / "history.csv"])
            if out == OUT / backbone / str(fold):  # no trial
                _record(trained, written)
            kept.clear()


def _train(
    task: TrainingTask, unseen: Ids, sessions: Sessions
) -> tuple[Trained, dict[str, UnseenScores]]:
    """The trained network, and what it says of `unseen`, the rows of the fold left out."""
    processes = sessions.processes
    curve = build_curve(task, processes)
    trained = train_member(task, sessions, curve)
    sessions.interruption.stop_at_once()
    scorer = curve.engine if curve else None
    return trained, judge_unseen(trained, task, unseen, processes, scorer)


def _record(trained: Trained, member: Member) -> None:
    measured = Measured(member.id.digest, trained.seconds, trained.images, trained.total)
    record_seconds("train", member.id.backbone, member.id.fold, measured)


def describe_training(task: TrainingTask, params: TrainParams, out: Path) -> dict[str, Any]:
    """All that the weights depend on."""
    rows = task.rows
    row_digest = digest_bytes(rows.row_ids.tobytes())
    return describe_run(
        out,
        COMPUTING,
        images=params.images.pixel_settings,
        settings=task.settings.model_dump(mode="json"),
        pretrained=digest_own_file(task.settings),
        train={"manifest": rows.manifest_digest, "fold": rows.fold, "rows": row_digest},
        seed=task.seed,
    )


def select_train_settings(params: TrainParams, backbone: str) -> tuple[object, ...] | None:
    """What a member depends on of `params.yaml`; `None` where it has no such backbone."""
    if backbone not in params.backbones:
        return None
    return params.data, params.images.pixel_settings, params.resolve_backbone(backbone)
