"""Variants of the stacker on a finished project: what its gate says, and what val shows of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.study.variants import (
    Key,
    fit_variants,
    hold_variant,
    judge_variants,
    list_settings,
)
from features.artifacts.outside import locate_outside
from features.core.auc import find_auc
from features.core.manifest import Ids, find_headline_rows, read_manifest
from features.core.number_text import format_difference, format_figure
from features.settings.sections import load_params
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    HeldOutColumns,
    Labels,
    read_held_out,
)
from stage2_ensemble.columns.extras import learn_file_codes, read_extras
from stage2_ensemble.fitted.ensemble import average_scores
from stage2_ensemble.gate.gate import Verdict, choose_shipped
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE
from stage2_ensemble.measures.resampling import (
    find_paired_bounds,
    index_groups,
    measure_resamples,
)
from stage2_ensemble.tune.run import DUMPS, FORENSICS, MANIFEST, read_folds
from stage2_ensemble.tune.settings import TuneParams

COLUMNS = (
    *("rows learned from", "variant", "out of fold", "the gate says"),
    *("val: best simple", "LightGBM", "LightGBM minus best simple"),
)


@dataclass(frozen=True)
class Project:
    """What a finished run learned from, and the headline rows of its val."""

    name: str
    params: TuneParams
    folds: Sequence[FoldColumns]
    val: Sequence[HeldOutColumns]
    """One per active fold."""
    labels: Labels
    groups: Ids


def read_project(folder: Path) -> Project:
    """Reads manifest, dumps and forensics as `stack` and `evaluate` do; writes nothing."""
    with chdir(folder):
        params = load_params(TuneParams)
        train, val = (read_manifest(MANIFEST, role) for role in ("train", "val"))
        codes = learn_file_codes(train) if params.stack.use_file_facts else None
        members = (params.names, params.folds.active, train.digest)
        extras, outside = read_extras(FORENSICS, val, codes), locate_outside(params.outside)
        rows = np.flatnonzero(find_headline_rows(val))
        held_out = read_held_out(DUMPS, val, *members, extras, outside)
        return Project(
            name=folder.resolve().name,
            params=params,
            folds=read_folds(params),
            val=[columns.take(rows) for columns in held_out],
            labels=val.labels[rows],
            groups=val.groups[rows],
        )


def judge_project(project: Project, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Of each variant a line of `COLUMNS`."""
    params, folds = project.params, project.folds
    variants = list_settings(params.stack, names)
    judged = judge_variants(folds, variants, params.seed)
    scores = {
        key: average_scores(model, project.val)
        for key, model in fit_variants(folds, variants, params.seed)
    }
    count = f"{len(folds)} folds" if len(folds) > 1 else "one fold"
    rows = f"`{project.name}`, {sum(map(len, folds)):,} in {count}"
    for name, settings in variants.items():
        verdicts = hold_variant(name, folds, judged[name], settings, params.gate, params.seed)
        of_val = _compare_on_val(project, scores, (name, "lightgbm"))
        yield rows, name, *_describe_verdicts(verdicts), *of_val


def _describe_verdicts(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """The difference of LightGBM, and what ships, or why nothing does."""
    verdict = next(verdict for verdict in verdicts if verdict.name == "lightgbm")
    ships = choose_shipped(verdicts, "")
    return verdict.describe_difference(), f"{ships} ships" if ships else verdict.outcome


def _compare_on_val(
    project: Project, scores: Mapping[Key, Floats], ours: Key
) -> tuple[str, str, str]:
    """Both AUCs, and their difference with its interval."""
    labels, numbered = project.labels, index_groups(project.labels, project.groups)
    pair = (scores[ours], scores["", BEST_SIMPLE])
    own, simple = (find_auc(labels, side) for side in pair)
    drawn = (measure_resamples(labels, side, numbered, threshold=0.0) for side in pair)
    bounds = find_paired_bounds("auc", *drawn, numbered.least)
    return format_figure(simple), format_figure(own), format_difference(own - simple, *bounds)
