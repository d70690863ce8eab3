"""Rows under variants, from members on the disk to scores that are sealed.

work = score_question(params, Question(val, row_ids, variants, (0,)), out, kept_limits, "perturb")
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from features.artifacts.perturbed import Variant, write_perturbed
from features.core.manifest import Ids, Manifest
from features.crops.crop_store import MemberStores, count_squares, lay_grid
from features.runtime.interruption import Interruption
from features.runtime.run_folder import RunFolder, describe_run
from features.settings.images import Mode
from features.settings.perturb import ChangedParams
from features.settings.scoring import Scoring
from stage1_cnn.dump.onnx import choose_engine
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.networks.devices import pick_device, prepare_device
from stage1_cnn.networks.member import Member, read_member
from stage1_cnn.networks.network import check_other_size
from stage1_cnn.perturb.file_changes import open_strength
from stage1_cnn.perturb.scores import Work, collect_scores, open_work_blocks, score_work
from stage1_cnn.perturb.tiers import open_tier
from stage1_cnn.runtime.runs import COMPUTING, RunLimits
from stage1_cnn.scoring.engines import Engine, describe_engines
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import CPU_BATCH
from stage1_cnn.scoring.views import VIEWS, view_images

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


def read_members(params: ChangedParams, folds: tuple[int, ...]) -> list[tuple[Member, Scoring]]:
    """All members of these folds and how they score, checked; none of them is loaded."""
    members = []
    for backbone in params.backbones:
        for fold in folds:
            member = read_member(MEMBERS / backbone / str(fold), backbone, fold)
            scoring = params.resolve_member(backbone, member.settings.images.mode)
            check_other_size(member.settings, scoring.choose_side(member.settings.image_size))
            members.append((member, scoring))
    return members


def open_work(params: ChangedParams, question: Question, processes: Processes) -> Work:
    """Members, rows and pictures, and what scores them as `dump` does."""
    members, row_ids, variants = (
        read_members(params, question.folds), question.row_ids, question.variants,
    )  # fmt: skip
    geometries: list[tuple[Mode, int, int]] = [("square", 0, 1)]
    places: list[int] = []
    for member, scoring in members:
        mode, side = member.settings.images.mode, scoring.choose_side(member.settings.image_size)
        seen = geometries[0] if mode == "square" else (mode, side, scoring.most_crops)
        if seen not in geometries:
            geometries.append(seen)
        places.append(geometries.index(seen))
    stores = tuple(
        tuple(
            lay_grid(opened[mode != "square"].open(mode, side), most)
            for mode, side, most in geometries
        )
        for opened in open_variants(params, question)
    )
    engines: list[Engine] = []
    for (member, scoring), place in zip(members, places, strict=True):
        folder = MEMBERS / member.id.backbone / str(member.id.fold)
        side = scoring.choose_side(member.settings.image_size)
        store = stores[0][place]
        plain = build_engine(member, folder, side, processes.device)
        images = len(VIEWS[scoring.tta]) * len(variants) * count_squares(store, row_ids)
        sample = torch.from_numpy(store.gather(row_ids[:CPU_BATCH]))
        engine = choose_engine(plain, params.dump.engine, sample, images, processes)
        engines.append(view_images(engine, scoring.tta))
    ids = tuple(member.id for member, _ in members)
    return Work(row_ids, variants, stores, ids, tuple(engines), tuple(places))


def open_variants(
    params: ChangedParams, question: Question
) -> list[tuple[MemberStores, MemberStores]]:
    """What there is of the pictures under each variant: for squares, which a strength still has to
    change, and for members of other modes, whose files it has changed. A tier changes all files.
    """
    where = (question.manifest, Path(params.data.root), params.images)
    plain, tiers = MemberStores(*where), params.perturb.tiers
    opened = []
    for variant in question.variants:
        squares = open_tier(*where, tiers[variant.name]) if variant.name in tiers else plain
        changes_squares = variant.strength is not None
        others = open_strength(*where, variant) if changes_squares else squares
        opened.append((squares, others))
    return opened


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
