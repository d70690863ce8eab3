"""What `python -m stage1_cnn.perturb` does."""

import logging
import time
from pathlib import Path

import numpy as np

from features.artifacts.perturbed import Perturbed, write_perturbed
from features.core.manifest import Ids, count_classes, read_manifest
from features.runtime.locks import hold
from features.settings.perturb import PerturbParams
from stage1_cnn.networks.devices import describe_device
from stage1_cnn.perturb.sample import draw_sample
from stage1_cnn.perturb.variants import list_variants
from stage1_cnn.perturb.work import Question, score_question
from stage1_cnn.runtime.runs import RunLimits

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/perturbed")
_log = logging.getLogger("forgerystack")


def find_nothing(params: PerturbParams, row_ids: Ids) -> str:
    """Why there is nothing to do; empty if there is."""
    if params.outside or not params.backbones:
        return "detectors from outside cannot be asked about changed pictures"
    if not params.perturb.rows:
        return "perturb.rows is 0"
    if not list_variants(params.perturb):
        return "perturb lists neither tiers nor strengths"
    if not len(row_ids):
        return "val has no readable rows of both classes"
    return ""


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
        question = Question(val, row_ids, list_variants(params.perturb), params.folds.active)
        work = score_question(params, question, out, limits, "perturb")
    _log.info(
        "perturb: %d real and %d fake val rows, %d variants, %d members on %s: %.1f s",
        *count_classes(val.labels[row_ids]), len(work.variants), len(work.members),
        describe_device(work.engines[0].device), time.perf_counter() - start,
    )  # fmt: skip
