"""How members were trained, epoch by epoch: for curves to look at, which nothing acts on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

LEARNING = ("backbone", "fold", "epoch", "loss", "lr", "raw_auc", "ema_auc")
SAMPLER = (
    *("backbone", "fold", "epoch", "real_share", "seen_real", "repeats_real_mean"),
    *("repeats_real_max", "seen_fake", "repeats_fake_mean", "repeats_fake_max"),
)
_log = logging.getLogger("forgerystack")


def tabulate_histories(
    folder: Path, backbones: Sequence[str], folds: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """`learning` and `sampler`: a line for each epoch of each member in `folder`.

    A member that was brought without its history is left out.
    """
    found, missing = [], []
    for backbone in backbones:
        for fold in folds:
            path = folder / backbone / str(fold) / "history.csv"
            if path.is_file():
                found.append(pd.read_csv(path).assign(backbone=backbone, fold=fold))
            else:
                missing.append(f"{backbone}-{fold}")
    if missing:
        _log.info("evaluate: no learning curves of %s: no history.csv", ", ".join(missing))
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return {
        "learning": rows.reindex(columns=list(LEARNING)),
        "sampler": rows.reindex(columns=list(SAMPLER)),
    }
