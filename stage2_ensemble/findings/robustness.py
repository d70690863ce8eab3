"""What scorers are worth on perturbed val pictures; nothing is fitted or chosen here.

`stage1_cnn.perturb` made the scores. Each variant is compared with the same rows as they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from features.artifacts.perturbed import (
    CLEAN,
    FACTS,
    STAGE,
    Perturbed,
    Variant,
    read_perturbed,
)
from features.core.auc import AucEstimate, average_aucs, compare_aucs, measure_auc
from features.core.manifest import Ids, Manifest, count_classes
from features.core.manifest_columns import take_columns
from features.errors import StaleArtifactError
from features.null_model.file_facts import SOURCES
from stage2_ensemble.columns.columns import Floats, HeldOutColumns, Labels
from stage2_ensemble.columns.tiers import build_member_parts
from stage2_ensemble.decisions.scored_rows import ValRows
from stage2_ensemble.findings.promises import check_tier
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.resampling import index_groups
from stage2_ensemble.results.robustness import (
    BackboneRobust,
    Counts,
    RobustAuc,
    Robustness,
    VariantMetrics,
    VariantScores,
)
from stage2_ensemble.results.scores import Auc

SCORERS = ("stack", "mean", "best_single")
"""`stack` is what ships."""
BOUNDS = ("auc", "auc_low", "auc_high")
CHANGES = ("change", "change_low", "change_high")
VALUES = (*BOUNDS, *CHANGES, "fpr", "tpr")
COLUMNS = ("perturbation", "strength", "scorer", *VALUES, "rows", "title")
"""Of `robustness.csv`."""


class ChangedFindings(NamedTuple):
    """What val shows on changed pictures."""

    robustness: Robustness
    """Of `metrics.json`."""
    promises: dict[str, Any]
    """What the threshold promised of tiers that it was chosen by, and what came of it."""


def read_robustness(
    folder: Path, ensemble: SecondStage, val: Manifest, names: Sequence[str]
) -> tuple[ChangedFindings, dict[str, pd.DataFrame]]:
    """What is measured, and its table by the name of its file.

    `names`: of the columns in `Extras` that the ensemble sees of val as it is. Raises as
    `read_perturbed`, or `StaleArtifactError` for scores of other members or columns.
    """
    perturbed = read_perturbed(folder, val)
    check_scored_by(ensemble, perturbed, folder)
    found = measure_robustness(ensemble, perturbed, val, names)
    return found, {"robustness": tabulate_robustness(found.robustness)}


def check_scored_by(ensemble: SecondStage, perturbed: Perturbed, folder: Path) -> None:
    """Raises `StaleArtifactError` unless the ensemble's very members have scored the pictures."""
    if not len(perturbed):
        return
    found = {(member.backbone, member.fold): member.digest for member in perturbed.members}
    for fold, digests in ensemble.digests.items():
        for backbone, digest in zip(ensemble.backbones, digests, strict=True):
            if found.get((backbone, fold)) != digest:
                seen = found.get((backbone, fold), "none")
                name = f"member {backbone}-{fold}"
                versions = (f"{name} {seen[:8]}", f"{name} {digest[:8]}")
                raise StaleArtifactError(folder / FACTS, *versions, STAGE)


def build_columns(
    ensemble: SecondStage, perturbed: Perturbed, place: int, table: pd.DataFrame
) -> list[HeldOutColumns]:
    """Columns of one variant, one per active fold. `table`: the manifest's rows, of their files."""
    known = (ensemble.backbones, ensemble.file_codes)
    return [
        HeldOutColumns(**build_member_parts(perturbed, place, table, fold, *known))
        for fold in ensemble.folds
    ]


def measure_robustness(
    ensemble: SecondStage, perturbed: Perturbed, val: Manifest, names: Sequence[str]
) -> ChangedFindings:
    """Rows, of each variant and scorer AUC, change and rates at its threshold, and robust AUCs."""
    ids = perturbed.row_ids
    labels, groups = val.labels[ids], val.groups[ids]
    reals, fakes = count_classes(labels)
    counts = Counts(rows=len(ids), reals=reals, fakes=fakes)
    if not len(ids):
        nothing: Robustness = {
            **counts, "groups": 0, "reliable": False, "note": perturbed.note,
            "variants": [], "tiers": [], "robust": {}, "backbones": {},
        }  # fmt: skip
        return ChangedFindings(nothing, {})
    table = take_columns(val, SOURCES, ids)
    variants: list[VariantMetrics] = []
    plain: dict[str, Floats] = {}
    by_tier: dict[str, dict[str, Floats]] = {}
    of_backbones: dict[str, Floats] = {}
    promises: dict[str, Any] = {}
    rule = ensemble.rules.scorers[ensemble.shipped]
    for place, variant in enumerate(perturbed.variants):
        columns = build_columns(ensemble, perturbed, place, table)
        if columns[0].extra_names != tuple(names):
            versions = ("other forensic columns", f"{len(names)} columns")
            raise StaleArtifactError(f"artifacts/perturbed/{FACTS}", *versions, STAGE)
        scores = score_columns(ensemble, columns)
        plain = plain or scores
        if variant.is_tier:
            by_tier[variant.name] = scores
            of_backbones[variant.name] = np.mean([c.logits for c in columns], axis=0)
        variants.append(measure_variant(ensemble, variant, scores, plain, labels, groups))
        if variant.name in rule.threshold.tiers:
            log_odds = rule.calibration.apply(ensemble.score(ensemble.shipped, columns))
            rows = ValRows(row_ids=ids, log_odds=log_odds, groups=groups, labels=labels)
            promises |= check_tier(rows, rule.threshold, variant.name)
    tiers = list(by_tier) if len(by_tier) > 1 else []
    robust = {
        scorer: measure_robust(labels, {t: by_tier[t][scorer] for t in tiers}, groups)
        for scorer in (SCORERS if tiers else ())
    }
    backbones = measure_backbones(ensemble.backbones if tiers else (), of_backbones, labels, groups)
    numbered = index_groups(labels, groups)
    found: Robustness = {
        **counts,
        "groups": numbered.count,
        "reliable": numbered.reliable,
        "note": "",
        "variants": variants,
        "tiers": tiers,
        "robust": robust,
        "backbones": backbones,
    }
    return ChangedFindings(found, promises)


def measure_robust(labels: Labels, tiers: Mapping[str, Floats], groups: Ids) -> RobustAuc:
    """Of one scorer's log-odds `(n,)` in each tier."""
    mean = average_aucs(labels, list(tiers.values()), groups)
    found = {name: measure_auc(labels, scores, groups) for name, scores in tiers.items()}
    worst = min(found, key=lambda name: found[name].auc or 0.0)
    lowest = found[worst]
    assert lowest.auc is not None  # both classes are there
    return {
        "auc": mean.auc,
        "auc_low": mean.low,
        "auc_high": mean.high,
        "worst": worst,
        "worst_auc": lowest.auc,
        "worst_auc_low": lowest.low,
        "worst_auc_high": lowest.high,
    }


def measure_backbones(
    names: Sequence[str], tiers: Mapping[str, Floats], labels: Labels, groups: Ids
) -> dict[str, BackboneRobust]:
    """`tiers`: by tier, log-odds `(n, b)` of the backbones `names`."""
    found: dict[str, BackboneRobust] = {}
    for place, name in enumerate(names):
        own = {tier: log_odds[:, place] for tier, log_odds in tiers.items()}
        aucs = {tier: measure_auc(labels, scores, groups) for tier, scores in own.items()}
        found[name] = {
            **measure_robust(labels, own, groups),
            "tiers": {tier: cast(Auc, auc.to_metrics()) for tier, auc in aucs.items()},
        }
    return found


def name_candidates(ensemble: SecondStage) -> dict[str, str]:
    """By the entries of `SCORERS`, the candidate behind each."""
    return {name: ensemble.shipped if name == "stack" else name for name in SCORERS}


def score_columns(ensemble: SecondStage, columns: Sequence[HeldOutColumns]) -> dict[str, Floats]:
    """`(n,)` log-odds of each of `SCORERS`, as they are read for labels."""
    candidates = name_candidates(ensemble)
    known = {name: ensemble.score(name, columns) for name in set(candidates.values())}
    return {scorer: ensemble.rules.read(name, known[name]) for scorer, name in candidates.items()}


def measure_variant(
    ensemble: SecondStage,
    variant: Variant,
    scores: Mapping[str, Floats],
    plain: Mapping[str, Floats],
    labels: Labels,
    groups: Ids,
) -> VariantMetrics:
    """One entry of `variants`; `plain`: scores of the same rows as they are."""
    scorers = {}
    for scorer, name in name_candidates(ensemble).items():
        auc = measure_auc(labels, scores[scorer], groups)
        assert auc.auc is not None  # both classes are there
        change = AucEstimate(None)
        if variant.name != CLEAN:
            change = compare_aucs(labels, groups, scores[scorer], plain[scorer])
        called = scores[scorer] >= ensemble.rules.find_threshold(name)
        scorers[scorer] = VariantScores(
            auc=auc.auc,
            auc_low=auc.low,
            auc_high=auc.high,
            change=change.auc,
            change_low=change.low,
            change_high=change.high,
            fpr=float(called[labels == 0].mean()),
            tpr=float(called[labels == 1].mean()),
        )
    return {
        "perturbation": variant.perturbation,
        "strength": variant.strength,
        "scorers": scorers,
    }


def tabulate_robustness(robustness: Robustness) -> pd.DataFrame:
    """A row for each variant and scorer; columns as in `COLUMNS`."""
    rows = [
        {
            "perturbation": variant["perturbation"],
            "strength": variant["strength"],
            "scorer": scorer,
            **values,
            "rows": robustness["rows"],
            "title": f"{name_variant(variant)}, {scorer}",
        }
        for variant in robustness["variants"]
        for scorer, values in variant["scorers"].items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def name_variant(variant: VariantMetrics) -> str:
    """`jpeg 75`, `web`."""
    return Variant(variant["perturbation"], variant["strength"]).name
