"""Metrics on val labels that somebody corrected (`data.label_overrides`), beside the original ones.

The original labels are the headline, and promises, threshold and calibration stand on them alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from features.core.manifest import NO_OVERRIDE, Manifest, count_classes, find_headline_rows
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.findings.scorers import measure_scorers
from stage2_ensemble.fitted.ensemble import SecondStage


def measure_corrected(
    ensemble: SecondStage, scores: Mapping[str, Floats], val: Manifest
) -> dict[str, Any] | None:
    """`corrected` of `metrics.json`: `counts`, and what `measure_scorers` finds; on headline rows.

    `scores`: as `SecondStage.read_all` gives them. `None` where no label was changed; `counts`
    alone where the corrected ones are of one class.
    """
    rows = find_headline_rows(val)
    listed, override = val.labels[rows], val.overrides[rows]
    looked_at = override != NO_OVERRIDE
    changed = looked_at & (override != listed)
    if not changed.any():
        return None
    labels = np.where(changed, override, listed).astype(np.int8)
    reals, fakes = count_classes(labels)
    to_real, to_fake = count_classes(labels[changed])
    counts = {
        "reals": reals,
        "fakes": fakes,
        "to_real": to_real,
        "to_fake": to_fake,
        "confirmed": int(np.sum(looked_at & ~changed)),
    }
    if not reals or not fakes:
        return {"counts": counts}
    headline = {name: score[rows] for name, score in scores.items()}
    found = measure_scorers(ensemble, ensemble.rules, headline, labels, val.groups[rows])
    return {"counts": counts, **found}
