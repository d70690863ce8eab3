"""Settings, scores and runs of comparisons that are made up."""

import numpy as np
from small_task import SIZE

from stage1_cnn.compare.statistics import RunScores
from stage1_cnn.train.fold_metrics import UnseenScores

SETTINGS = {
    "seed": 3,
    "data": {"root": "data"},
    "images": {"size": SIZE, "store": "none"},
    "weights": {},
    "sampling": {},
    "loss": {},
    "optimizer": {"lr": 3e-3},
    "schedule": {"epochs": 2, "batch_size": 16},
    "ema": {"decay": 0.9},
    "augment": {},
    "network": {},
    "backbones": {
        "resnet": {"model": "test_resnet", "schedule": {"epochs": 3}},
        "other": {"model": "test_byobnet"},
    },
    "compare": {
        "backbone": "resnet",
        "rows": [None, 40],
        "seeds": 2,
        "variants": {
            "natural": {"sampling": {"mode": "natural"}},
            "slow": {"sampling": {"mode": "natural"}, "optimizer": {"lr": 1e-4}},
        },
    },
}


def make_scores(auc, accuracy=0.5):
    return {
        "auc": auc,
        "auc_low": auc - 0.02,
        "auc_high": auc + 0.04,
        "accuracy": accuracy,
        "balanced_accuracy": 0.5,
        "log_loss": 0.7,
    }


def make_unseen(auc, rows=4):
    """As a training that was made up has scored so many rows."""
    return UnseenScores(np.full(rows, auc), make_scores(auc))


def make_runs(values, rows=100):
    """`values`: AUCs, one a seed, by (variant, weights)."""
    runs = []
    for variant in dict.fromkeys(variant for variant, _ in values):
        own = {w: aucs for (v, w), aucs in values.items() if v == variant}
        for seed in range(len(own["raw"])):
            scores = {w: make_scores(aucs[seed]) for w, aucs in own.items() if seed < len(aucs)}
            runs.append(RunScores(rows, variant, seed, scores))
    return runs


BASE, GOOD = [0.80, 0.83, 0.79, 0.82], [0.85, 0.86, 0.85, 0.88]
