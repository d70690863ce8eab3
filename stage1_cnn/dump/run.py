"""What `python -m stage1_cnn.dump` does."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.artifacts.dumps import Dump, write_dump
from features.artifacts.row_blocks import RowBlocks
from features.core.auc import compare_aucs, measure_auc
from features.core.manifest import ROLES, Manifest, read_manifest
from features.crops.crop_store import open_member_store
from features.errors import AlignmentError
from features.runtime.costs import Measured, record_seconds
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.run_folder import RunFolder, describe_run
from features.settings.scoring import DumpParams
from stage1_cnn.dump.embedded_parts import build_embedded_parts
from stage1_cnn.dump.parts import (
    PLAIN,
    Part,
    Task,
    build_engine_parts,
    open_part_blocks,
    score_part,
)
from stage1_cnn.networks.devices import describe_device
from stage1_cnn.networks.member import Member, read_member
from stage1_cnn.networks.network import check_other_size
from stage1_cnn.runtime.runs import COMPUTING, RunLimits
from stage1_cnn.scoring.engines import describe_engines
from stage1_cnn.scoring.merging import ScoredRows
from stage1_cnn.scoring.processes import Processes, join_processes
from stage1_cnn.scoring.rows import find_width

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
OUT = Path("artifacts/dumps")
SAMPLE = 1000
"""Rows by which a network is known that says the same of all pictures."""
_log = logging.getLogger("forgerystack")


def describe_gain(task: Task, dump: Dump, plain: ScoredRows) -> str:
    """The AUC on fold k as the member was trained, as it is dumped, and their difference."""
    train, fold = task.manifests["train"], dump.member.fold
    rows = train.fold_rows(fold)
    if not np.isfinite(plain.logits).all():
        return f"fold {fold}: some scores are not finite without dump.tta and dump.image_size"
    labels, groups = train.labels[rows], train.groups[rows]
    logits = dump.logits[np.isin(dump.row_ids, rows)]
    before, after = (measure_auc(labels, scores, groups) for scores in (plain.logits, logits))
    gain = compare_aucs(labels, groups, logits, plain.logits)
    return (
        f"fold {fold}: AUC {before.describe()} plain at {task.trained_side} px, "
        f"{after.describe()} with tta {task.scoring.tta} at {task.side} px; difference "
        f"{gain.describe_difference()}. To look at: nothing acts on it"
    )


def check_member(member: Member, train: Manifest, fold: int) -> None:
    """Raises unless the member left out `fold` of this very train manifest."""
    if member.id.fold != fold:
        raise AlignmentError("folds of the member", member.id.fold, fold)
    member.id.check_train_digest(train.digest)


def open_task(params: DumpParams, backbone: str, fold: int, member_dir: Path) -> Task:
    """The member, the manifests and the images, checked against each other."""
    member = read_member(member_dir, backbone, fold)
    manifests = {role: read_manifest(MANIFEST, role) for role in ROLES}
    check_member(member, manifests["train"], fold)
    mode = member.settings.images.mode
    scoring = params.resolve_member(backbone, mode)
    side = scoring.choose_side(member.settings.image_size)
    check_other_size(member.settings, side)
    how = (Path(params.data.root), params.images, mode, side)
    stores = {role: open_member_store(rows, *how) for role, rows in manifests.items()}
    return Task(member, member_dir, manifests, stores, scoring, params.dump.engine)


def describe_dump(params: DumpParams, task: Task, parts: list[Part], out: Path) -> dict[str, Any]:
    """All that the scores depend on."""
    return describe_run(
        out,
        COMPUTING,
        images=params.images.pixel_settings,
        member=task.member.id.digest,
        manifests={role: manifest.digest for role, manifest in task.manifests.items()},
        dump={"tta": task.scoring.tta, "image_size": task.side, "crops": task.scoring.most_crops},
        **describe_engines([part.engine for part in parts]),
    )


@dataclass
class Pace:
    """What scoring the rows of roles took in this run."""

    seconds: float = 0.0
    images: int = 0


def score_parts(
    parts: list[Part], folder: Path, processes: Processes, interruption: Interruption
) -> tuple[dict[str, RowBlocks], Pace]:
    """The scores of all parts, in `folder`, on the first process. Raises `Stopped`."""
    scores, pace = {}, Pace()
    width = find_width(parts[0].engine)
    for part in parts:
        blocks = open_part_blocks(part, folder, width) if processes.is_first else None
        start = time.perf_counter()
        scored = score_part(part, blocks, processes, interruption)
        if part.name != PLAIN:
            pace.seconds += time.perf_counter() - start
            pace.images += scored
        if blocks:
            scores[part.name] = blocks
    return scores, pace


def build_parts(
    task: Task, params: DumpParams, processes: Processes, interruption: Interruption
) -> list[Part]:
    """What is scored of each role, and how. Raises `Stopped`."""
    if task.member.settings.kind == "frozen":
        return build_embedded_parts(task, params, processes, interruption)
    return build_engine_parts(task, processes)


def write_dumps(task: Task, parts: list[Part], scores: dict[str, RowBlocks], out: Path) -> None:
    """Writes a dump for each role, and logs what the settings have gained on fold k."""
    name = task.member.id.name
    dumps = {}
    for (role, manifest), part in zip(task.manifests.items(), parts, strict=False):
        dump = Dump(role, task.member.id, part.row_ids, *scores[role].map_arrays())
        write_dump(dump, manifest, out, scores[role].finish())
        if len(dump) > 1 and not np.ptp(dump.embeddings[:SAMPLE], axis=0).any():
            _log.warning("dump %s: %s rows have one embedding: the network is blind", name, role)
        dumps[role] = dump
        _log.info("dump %s: %s %d rows", name, role, len(part.row_ids))
    if PLAIN in scores:
        plain = ScoredRows(*scores[PLAIN].map_arrays())
        _log.info("dump %s: %s", name, describe_gain(task, dumps["train"], plain))


def run(
    params: DumpParams, backbone: str, fold: int, member_dir: Path, out: Path, limits: RunLimits
) -> None:
    """Reads member, manifests and images, writes one dump per role.

    Goes on where a run with the same member, rows, settings, code and `out` was cut off. Raises
    `Stopped`, `LockedError`.
    """
    with join_processes() as processes, ExitStack() as held:
        if processes.is_first:
            held.enter_context(hold(out, limits.resume_dir))
        else:
            _log.setLevel(logging.WARNING)
        with processes.meet_after():  # each machine may decode into a store of its own
            task = open_task(params, backbone, fold, member_dir)
        with Interruption(limits.max_minutes) as interruption:
            parts = build_parts(task, params, processes, interruption)
            _log.info(
                "dump %s: %s at %d px%s, tta %s, by %s on %s%s",
                task.member.id.name, task.member.settings.model, task.side, task.describe_crops(),
                task.scoring.tta, parts[0].engine.name, describe_device(processes.device),
                f", {processes.world} processes" if processes.world > 1 else "",
            )  # fmt: skip
            key = describe_dump(params, task, parts, out)
            kept = RunFolder(limits.resume_dir, f"dump-{backbone}-{fold}", key)
            if processes.is_first:
                kept.open()
            scores, pace = score_parts(parts, kept.path, processes, interruption)
        if processes.is_first:
            write_dumps(task, parts, scores, out)
            # Neither a trial, nor embeddings that other folds have paid for.
            if out == OUT / backbone / str(fold) and task.member.settings.kind == "trained":
                total = sum(len(part.row_ids) for part in parts if part.name != PLAIN)
                measured = Measured(task.member.id.digest, pace.seconds, pace.images, total)
                record_seconds("dump", backbone, fold, measured)
            kept.clear()


def select_dump_settings(params: DumpParams, backbone: str) -> tuple[object, ...]:
    """What a dump depends on of `params.yaml`: the same for all folds of a backbone."""
    return params.data, params.images.pixel_settings, params.dump.resolve_backbone(backbone)
