"""What `python -m stage1_cnn.perturb` does."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.artifacts.perturbed import Perturbed, write_perturbed
from features.core.manifest import Ids, Manifest, count_classes, read_manifest
from features.crops.crop_store import MemberStores, count_squares, lay_grid
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.run_folder import RunFolder, describe_run
from features.settings.images import Mode
from features.settings.perturb import PerturbParams
from features.settings.scoring import Scoring
from stage1_cnn.dump.onnx import choose_engine
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.dump.views import VIEWS, view_images
from stage1_cnn.networks.devices import describe_device, pick_device, prepare_device
from stage1_cnn.networks.member import Member, read_member
from stage1_cnn.networks.network import check_other_size
from stage1_cnn.perturb.sample import draw_sample
from stage1_cnn.perturb.scores import Work, collect_scores, open_work_blocks, score_work
from stage1_cnn.perturb.variants import list_variants
from stage1_cnn.runtime.runs import COMPUTING, RunLimits
from stage1_cnn.scoring.engines import Engine, describe_engines
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import CPU_BATCH

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
OUT = Path("artifacts/perturbed")
_log = logging.getLogger("forgerystack")


def find_nothing(params: PerturbParams, row_ids: Ids) -> str:
    """Why there is nothing to do; empty if there is."""
    if params.outside or not params.backbones:
        return "detectors from outside cannot be asked about changed pictures"
    if not params.perturb.rows:
        return "perturb.rows is 0"
    if not list_variants(params.perturb):
        return "perturb lists no strengths"
    if not len(row_ids):
        return "val has no readable rows of both classes"
    return ""


def read_members(params: PerturbParams) -> list[tuple[Member, Scoring]]:
    """All members of the settings and how they score, checked; none of them is loaded."""
    members = []
    for backbone in params.backbones:
        for fold in params.folds.active:
            member = read_member(MEMBERS / backbone / str(fold), backbone, fold)
            scoring = params.resolve_member(backbone, member.settings.images.mode)
            check_other_size(member.settings, scoring.image_size or member.settings.image_size)
            members.append((member, scoring))
    return members


def open_work(params: PerturbParams, val: Manifest, row_ids: Ids, processes: Processes) -> Work:
    """Members, rows and pictures, and what scores them as `dump` does."""
    members = read_members(params)
    opened = MemberStores(val, Path(params.data.root), params.images)
    stores = [opened.open("square", 0)]
    known: dict[tuple[Mode, int, int], int] = {}
    variants = list_variants(params.perturb)
    engines: list[Engine] = []
    places: list[int] = []
    for member, scoring in members:
        folder = MEMBERS / member.id.backbone / str(member.id.fold)
        mode, side = member.settings.images.mode, scoring.image_size or member.settings.image_size
        geometry = (mode, side, scoring.most_crops)
        if mode != "square" and geometry not in known:
            known[geometry] = len(stores)
            stores.append(lay_grid(opened.open(mode, side), scoring.most_crops))
        places.append(known.get(geometry, 0))
        seen = stores[places[-1]]
        plain = build_engine(member, folder, side, processes.device)
        images = len(VIEWS[scoring.tta]) * len(variants) * count_squares(seen, row_ids)
        sample = torch.from_numpy(seen.gather(row_ids[:CPU_BATCH]))
        engine = choose_engine(plain, params.dump.engine, sample, images, processes)
        engines.append(view_images(engine, scoring.tta))
    ids = tuple(member.id for member, _ in members)
    return Work(row_ids, variants, tuple(stores), ids, tuple(engines), tuple(places))


def describe_perturb(params: PerturbParams, val: Manifest, work: Work, out: Path) -> dict[str, Any]:
    """All that the scores depend on."""
    return describe_run(
        out,
        COMPUTING,
        images=params.images.pixel_settings,
        members={member.name: member.digest for member in work.members},
        manifest=val.digest,
        seed=params.seed,
        dump=params.dump.model_dump(mode="json"),
        perturb=params.perturb.model_dump(mode="json"),
        **describe_engines(work.engines),
    )


def run(params: PerturbParams, out: Path, limits: RunLimits) -> None:
    """Reads members, val and its images, writes what the members say.

    Goes on where a run with the same members, rows, settings, code and `out` was cut off. Raises
    `Stopped`, `LockedError`.
    """
    start = time.perf_counter()
    with hold(out, limits.resume_dir):
        val = read_manifest(MANIFEST, "val")
        row_ids = draw_sample(val, params.perturb.rows, params.seed)
        if nothing := find_nothing(params, row_ids):
            _log.info("perturb: nothing is measured: %s", nothing)
            write_perturbed(Perturbed(np.empty(0, np.int64), note=nothing), val, out)
            return
        processes = Processes(pick_device())
        prepare_device(processes.device)
        work = open_work(params, val, row_ids, processes)
        key = describe_perturb(params, val, work, out)
        kept = RunFolder(limits.resume_dir, "perturb", key)
        kept.open()
        blocks = open_work_blocks(work, kept.path)
        with Interruption(limits.max_minutes) as interruption:
            score_work(work, blocks, processes, interruption)
        write_perturbed(collect_scores(work, blocks), val, out, blocks.finish())
        kept.clear()
    _log.info(
        "perturb: %d real and %d fake val rows, %d variants, %d members on %s: %.1f s",
        *count_classes(val.labels[row_ids]), len(work.variants), len(work.members),
        describe_device(processes.device), time.perf_counter() - start,
    )  # fmt: skip


def select_perturb_settings(params: PerturbParams) -> dict[str, Any]:
    """What the result depends on of `params.yaml`: of backbones the names, whose members hold
    the rest.
    """
    values = params.model_dump(exclude={"images"})
    return {
        **values,
        "images": params.images.pixel_settings,
        "backbones": list(params.backbones),
    }
