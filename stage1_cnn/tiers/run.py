"""What `python -m stage1_cnn.tiers` does."""

import logging
import time
from pathlib import Path

import numpy as np

from features.artifacts.perturbed import Perturbed, Variant, write_perturbed
from features.core.manifest import Manifest, count_classes, read_manifest
from features.runtime.locks import hold
from features.settings.perturb import TiersParams
from stage1_cnn.perturb.sample import draw_train_sample
from stage1_cnn.runtime.runs import RunLimits

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/tiers")
_log = logging.getLogger("forgerystack")


def run(params: TiersParams, out: Path, limits: RunLimits) -> None:
    """Reads members, train and its images; writes what the members say, a folder for each fold.

    Goes on where a run with the same members, rows, settings, code and `out` was cut off. Raises
    `Stopped`, `LockedError`.
    """
    with hold(out, limits.resume_dir):
        train = read_manifest(MANIFEST, "train")
        for fold in params.folds.active:
            if params.decision.tiers:
                score_fold(params, train, fold, out / str(fold), limits)
            else:
                nothing = Perturbed(np.empty(0, np.int64), note="decision.tiers is empty")
                write_perturbed(nothing, train, out / str(fold))
    if not params.decision.tiers:
        _log.info("tiers: nothing to do: decision.tiers is empty")


def score_fold(
    params: TiersParams, train: Manifest, fold: int, out: Path, limits: RunLimits
) -> None:
    """Rows of `fold` and calibration rows under the chosen tiers, by the members of `fold`."""
    from stage1_cnn.perturb.work import Question, score_question  # late: torch takes seconds

    start = time.perf_counter()
    row_ids = draw_train_sample(train, fold, params.perturb.rows, params.seed)
    variants = tuple(Variant(name, None) for name in params.decision.tiers)
    score_question(
        params, Question(train, row_ids, variants, (fold,)), out, limits, f"tiers-{fold}"
    )
    _log.info(
        "tiers: fold %d: %d real and %d fake train rows under %s: %.1f s",
        fold, *count_classes(train.labels[row_ids]), ", ".join(params.decision.tiers),
        time.perf_counter() - start,
    )  # fmt: skip
