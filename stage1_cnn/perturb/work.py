"""Rows under variants, from members on the disk to scores that are sealed.

work = score_question(params, Question(val, row_ids, variants, (0,)), out, kept_limits, "perturb")
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from features.artifacts.perturbed import Variant, write_perturbed
from features.core.manifest import Ids, Manifest
from features.pixels.store import open_store
from features.runtime.interruption import Interruption
from features.runtime.run_folder import RunFolder, describe_run
from features.settings.perturb import ChangedParams
from stage1_cnn.dump.onnx import choose_engine
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.dump.views import VIEWS, view_images
from stage1_cnn.networks.devices import pick_device, prepare_device
from stage1_cnn.networks.member import Member, read_member
from stage1_cnn.networks.network import check_other_size
from stage1_cnn.perturb.scores import Work, collect_scores, open_work_blocks, score_work
from stage1_cnn.perturb.tiers import open_tier
from stage1_cnn.runtime.runs import COMPUTING, RunLimits
from stage1_cnn.scoring.engines import Engine, describe_engines
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import CPU_BATCH

MEMBERS = Path("artifacts/members")


@dataclass(frozen=True)
class Question:
    """Rows of a manifest under variants, and the folds whose members are asked."""

    manifest: Manifest
    row_ids: Ids
    variants: tuple[Variant, ...]
    folds: tuple[int, ...]


def score_question(
    params: ChangedParams, question: Question, out: Path, limits: RunLimits, stage: str
) -> Work:
    """Writes what members say below `out`, and gives what was scored.

    Goes on where a run with the same members, rows, settings, code and `out` was cut off. Raises
    `Stopped`.
    """
    processes = Processes(pick_device())
    prepare_device(processes.device)
    work = open_work(params, question, processes)
    kept = RunFolder(limits.resume_dir, stage, describe_question(params, question, work, out))
    kept.open()
    blocks = open_work_blocks(work, kept.path)
    with Interruption(limits.max_minutes) as interruption:
        score_work(work, blocks, processes, interruption)
    write_perturbed(collect_scores(work, blocks), question.manifest, out, blocks.finish())
    kept.clear()
    return work


def read_members(params: ChangedParams, folds: tuple[int, ...]) -> list[Member]:
    """All members of these folds, checked; none of them is loaded."""
    members = []
    for backbone in params.backbones:
        for fold in folds:
            member = read_member(MEMBERS / backbone / str(fold), backbone, fold)
            check_other_size(member.settings, find_side(params, member))
            members.append(member)
    return members


def find_side(params: ChangedParams, member: Member) -> int:
    """Of the squares that a member scores, in pixels: as in its dump."""
    asked = params.dump.resolve_backbone(member.id.backbone).image_size
    return asked or member.settings.image_size


def open_work(params: ChangedParams, question: Question, processes: Processes) -> Work:
    """Members, rows and pictures, and what scores them as `dump` does."""
    members, root = read_members(params, question.folds), Path(params.data.root)
    manifest, row_ids, variants = question.manifest, question.row_ids, question.variants
    store, tiers = open_store(manifest, root, params.images), params.perturb.tiers
    stores = (
        open_tier(manifest, root, params.images, tiers[v.name]) if v.name in tiers else store
        for v in variants
    )
    sample = torch.from_numpy(store.gather(row_ids[:CPU_BATCH]))
    engines: list[Engine] = []
    for member in members:
        folder = MEMBERS / member.id.backbone / str(member.id.fold)
        plain = build_engine(member, folder, find_side(params, member), processes.device)
        tta = params.dump.resolve_backbone(member.id.backbone).tta
        images = len(VIEWS[tta]) * len(variants) * len(row_ids)
        engine = choose_engine(plain, params.dump.engine, sample, images, processes)
        engines.append(view_images(engine, tta))
    return Work(row_ids, variants, tuple(stores), tuple(m.id for m in members), tuple(engines))


def describe_question(
    params: ChangedParams, question: Question, work: Work, out: Path
) -> dict[str, Any]:
    """All that the scores depend on."""
    return describe_run(
        out,
        COMPUTING,
        images=params.images.pixel_settings,
        members={member.name: member.digest for member in work.members},
        manifest=question.manifest.digest,
        seed=params.seed,
        dump=params.dump.model_dump(mode="json"),
        perturb=params.perturb.model_dump(mode="json"),
        **describe_engines(work.engines),
    )
