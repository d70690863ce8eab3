"""What scores say of each row: a probability, and real, fake or review."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from stage2_ensemble.columns import Floats
from stage2_ensemble.conformal import FAKE, REAL, REVIEW
from stage2_ensemble.readings import Readings


def answer_rows(readings: Readings, shipped: str, raw: Floats) -> pd.DataFrame:
    """`score, label, log_odds` of `(n,)` log-odds as they come; NaN where there are none."""
    known = np.isfinite(raw)
    log_odds: Floats = np.full(len(raw), logit(readings.prior.value))
    log_odds[known] = readings.read(shipped, raw[known])
    labels = np.where(log_odds >= readings.find_threshold(shipped), FAKE, REAL).astype(object)
    if readings.band:
        labels[:] = REVIEW
        calibrated = readings.scorers[shipped].calibration.apply(raw[known])
        labels[known] = readings.band.decide(calibrated)
    return pd.DataFrame({"score": expit(log_odds), "label": labels, "log_odds": log_odds})
