"""A second stage that was fitted on nothing."""

from collections.abc import Mapping

import numpy as np

from stage2_ensemble.decisions.calibration import Calibration
from stage2_ensemble.decisions.calibrators import Identity
from stage2_ensemble.decisions.prior_shift import keep_train
from stage2_ensemble.decisions.rules import DecisionRule, DecisionRules
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.threshold import Threshold
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.shares import Share
from stage2_ensemble.models.candidates import Pooled
from stage2_ensemble.models.combiners import Mean


def make_second_stage(digests: Mapping[str, str], train_digest: str) -> SecondStage:
    """The mean, and rules that leave log-odds as they are; `digests`: of members, by backbone."""
    rates = {"fpr": Share(0.5), "tpr": Share(0.5)}
    threshold = Threshold(0.0, None, None, "balanced_accuracy", None, None, **rates)
    rule = DecisionRule(Calibration(Identity(), {}, 0.0, 0.0, "made up"), threshold)
    labels = np.array([0, 1], np.int8)
    ids = np.arange(2)
    rows = ChoiceRows(
        row_ids=ids, log_odds=np.zeros(2), groups=ids, labels=labels, weights=np.ones(2)
    )
    names = ["mean", *(f"{backbone}-0" for backbone in digests)]
    return SecondStage(
        backbones=tuple(digests),
        folds=(0,),
        train_digest=train_digest,
        digests={0: tuple(digests.values())},
        shipped="mean",
        gate_choice="mean",
        models={"mean": Pooled(Mean())},
        oof_auc={"mean": [0.5]},
        picks={},
        verdicts=(),
        rules=DecisionRules(dict.fromkeys(names, rule), keep_train(0.5), None, rows),
        rule_rows="out-of-fold",
    )
