"""What views and size of a dump change on the fold left out: to look at, never to act on."""

import numpy as np

from features.dumps import Dump
from features.intervals import compare_aucs, measure_auc
from stage1_cnn.dumping import Task
from stage1_cnn.scoring import ScoredRows


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
        f"fold {fold}: AUC {before.describe(4)} plain at {task.trained_side} px, "
        f"{after.describe(4)} with tta {task.scoring.tta} at {task.side} px; difference "
        f"{gain.describe(4, '+')}. To look at: nothing acts on it"
    )
