"""What members say of damaged files: of val to measure on, of train to choose thresholds on.

Rows of val have no labels here, so nothing can be chosen on them; those of train are of one fold,
by members that did not learn from them, and nothing can be fitted on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from features.artifacts.perturbed import FACTS, Perturbed, read_perturbed
from features.core.manifest import Ids, Manifest
from features.core.manifest_columns import take_columns
from features.errors import StaleArtifactError
from features.null_model.file_facts import SOURCES
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    Labels,
    MemberColumns,
    gather_crop_logits,
)
from stage2_ensemble.columns.extras import FileCodes, build_extras

STAGE = "tiers"


@dataclass(frozen=True, kw_only=True)
class TierColumns(MemberColumns):
    """Rows of train under a tier, by members that did not learn from them: thresholds may be
    chosen on scores of models that were not fitted on these rows either.
    """

    labels: Labels
    weights: Floats
    groups: Ids


class FoldTiers(NamedTuple):
    """By tier, what the members of one fold say of some rows of it, and of calibration rows."""

    inside: Mapping[str, TierColumns]
    calibration: Mapping[str, TierColumns]


def take_tier(folds: Sequence[FoldTiers], name: str) -> tuple[list[TierColumns], list[TierColumns]]:
    """Of each fold its rows, and the calibration rows, under this tier."""
    return [own.inside[name] for own in folds], [own.calibration[name] for own in folds]


def build_member_parts(
    perturbed: Perturbed,
    place: int,
    table: pd.DataFrame,
    fold: int,
    backbones: Sequence[str],
    file_codes: FileCodes | None = None,
) -> dict[str, Any]:
    """Fields of `MemberColumns` of the variant at `place`, by the members of `fold`.

    `table`: the manifest's rows, of their files.
    """
    assert perturbed.forensics is not None
    extras = build_extras(perturbed.names, perturbed.forensics[place], table, file_codes)
    places = {(m.backbone, m.fold): i for i, m in enumerate(perturbed.members)}
    chosen = [places[backbone, fold] for backbone in backbones]
    members = [perturbed.members[i] for i in chosen]
    logits = [
        member.correction.apply(np.asarray(perturbed.logits[i][place]))
        for i, member in zip(chosen, members, strict=True)
    ]
    of_crops = [
        member.correction.apply_to_crops(None if crops is None else np.asarray(crops[place]))
        for member, (*_, crops) in (perturbed.member_arrays[i] for i in chosen)
    ]
    return {
        "fold": fold,
        "backbones": tuple(backbones),
        "row_ids": perturbed.row_ids,
        "logits": np.stack(logits, axis=1),
        "embeddings": tuple(perturbed.embeddings[i][place] for i in chosen),
        "digests": tuple(member.digest for member in members),
        "extras": extras.values,
        "extra_names": extras.names,
        "crop_logits": gather_crop_logits(of_crops),
    }


def read_fold_tiers(
    folder: Path,
    train: Manifest,
    columns: FoldColumns,
    names: Sequence[str],
    file_codes: FileCodes | None = None,
) -> FoldTiers:
    """What the members of `columns` say of train rows under the tiers `names`.

    Raises `StaleArtifactError` where tiers or members are others, or as `read_perturbed`:
    `LeakageError` for rows that a member has learned from.
    """
    place = folder / str(columns.fold)
    found = read_perturbed(place, train, STAGE)
    scored = tuple(variant.name for variant in found.variants)
    if scored != tuple(names):
        versions = (f"tiers {', '.join(scored) or 'none'}", f"tiers {', '.join(names)}")
        raise StaleArtifactError(place / FACTS, *versions, STAGE)
    known = {(m.backbone, m.fold): m.digest for m in found.members}
    for backbone, digest in zip(columns.backbones, columns.digests, strict=True):
        seen = known.get((backbone, columns.fold), "none")
        if seen != digest:
            name = f"member {backbone}-{columns.fold}"
            versions = (f"{name} {seen[:8]}", f"{name} {digest[:8]}")
            raise StaleArtifactError(place / FACTS, *versions, STAGE)
    ids = found.row_ids
    table, inside = take_columns(train, SOURCES, ids), train.folds[ids] == columns.fold
    by_tier = {
        name: TierColumns(
            **build_member_parts(found, i, table, columns.fold, columns.backbones, file_codes),
            labels=train.labels[ids],
            weights=train.weights[ids],
            groups=train.groups[ids],
        )
        for i, name in enumerate(names)
    }
    return FoldTiers(
        {name: tier.take(np.flatnonzero(inside)) for name, tier in by_tier.items()},
        {name: tier.take(np.flatnonzero(~inside)) for name, tier in by_tier.items()},
    )
