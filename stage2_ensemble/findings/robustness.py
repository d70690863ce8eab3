"""What scorers are worth on perturbed val pictures; nothing is fitted or chosen here.

`stage1_cnn.perturb` made the scores. Each variant is compared with the same rows as they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from features.artifacts.perturbed import FACTS, STAGE, Perturbed, Variant, read_perturbed
from features.core.auc import AucEstimate, compare_aucs, measure_auc
from features.core.manifest import Ids, Manifest, count_classes
from features.errors import StaleArtifactError
from stage2_ensemble.columns.columns import (
    Floats,
    HeldOutColumns,
    Labels,
    gather_crop_logits,
)
from stage2_ensemble.columns.extras import build_extras
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.resampling import index_groups
from stage2_ensemble.results.form import Counts, Robustness, VariantMetrics, VariantScores

SCORERS = ("stack", "mean", "best_single")
"""`stack` is what ships."""
BOUNDS = ("auc", "auc_low", "auc_high")
CHANGES = ("change", "change_low", "change_high")
VALUES = (*BOUNDS, *CHANGES, "fpr", "tpr")
COLUMNS = ("perturbation", "strength", "scorer", *VALUES, "rows", "title")
"""Of `robustness.csv`."""


def read_robustness(
    folder: Path, ensemble: SecondStage, val: Manifest, names: Sequence[str]
) -> tuple[Robustness, dict[str, pd.DataFrame]]:
    """`robustness` of `metrics.json`, and its table by the name of its file.

    `names`: of the columns in `Extras` that the ensemble sees of val as it is. Raises as
    `read_perturbed`, or `StaleArtifactError` for scores of other members or columns.
    """
    perturbed = read_perturbed(folder, val)
    check_scored_by(ensemble, perturbed, folder)
    metrics = measure_robustness(ensemble, perturbed, val, names)
    return metrics, {"robustness": tabulate_robustness(metrics)}


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
    assert perturbed.forensics is not None
    extras = build_extras(perturbed.names, perturbed.forensics[place], table, ensemble.file_codes)
    places = {(m.backbone, m.fold): i for i, m in enumerate(perturbed.members)}
    columns = []
    for fold in ensemble.folds:
        chosen = [places[backbone, fold] for backbone in ensemble.backbones]
        members = [perturbed.members[i] for i in chosen]
        logits = [
            member.correction.apply(np.asarray(perturbed.logits[i][place]))
            for i, member in zip(chosen, members, strict=True)
        ]
        of_crops = [
            member.correction.apply_to_crops(None if found is None else np.asarray(found[place]))
            for member, (*_, found) in (perturbed.member_arrays[i] for i in chosen)
        ]
        columns.append(
            HeldOutColumns(
                fold=fold,
                backbones=ensemble.backbones,
                row_ids=perturbed.row_ids,
                logits=np.stack(logits, axis=1),
                embeddings=tuple(perturbed.embeddings[i][place] for i in chosen),
                digests=tuple(member.digest for member in members),
                extras=extras.values,
                extra_names=extras.names,
                crop_logits=gather_crop_logits(of_crops),
            )
        )
    return columns


def measure_robustness(
    ensemble: SecondStage, perturbed: Perturbed, val: Manifest, names: Sequence[str]
) -> Robustness:
    """Rows, and of each variant and scorer AUC, change and rates at the scorer's threshold."""
    ids = perturbed.row_ids
    labels, groups = val.labels[ids], val.groups[ids]
    reals, fakes = count_classes(labels)
    counts = Counts(rows=len(ids), reals=reals, fakes=fakes)
    if not len(ids):
        return {**counts, "groups": 0, "reliable": False, "note": perturbed.note, "variants": []}
    table = val.table.iloc[ids]
    variants: list[VariantMetrics] = []
    plain: dict[str, Floats] = {}
    for place, variant in enumerate(perturbed.variants):
        columns = build_columns(ensemble, perturbed, place, table)
        if columns[0].extra_names != tuple(names):
            versions = ("other forensic columns", f"{len(names)} columns")
            raise StaleArtifactError(f"artifacts/perturbed/{FACTS}", *versions, STAGE)
        scores = score_columns(ensemble, columns)
        plain = plain or scores
        variants.append(measure_variant(ensemble, variant, scores, plain, labels, groups))
    numbered = index_groups(labels, groups)
    return {
        **counts,
        "groups": numbered.count,
        "reliable": numbered.reliable,
        "note": "",
        "variants": variants,
    }


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
        if variant.strength is not None:
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
    """`jpeg 75`."""
    return Variant(variant["perturbation"], variant["strength"]).name
