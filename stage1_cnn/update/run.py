"""What `python -m stage1_cnn.update` does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from features.core.auc import Floats, Mask
from features.core.files import write_text
from features.core.manifest import Ids, Manifest, count_classes, read_manifest
from features.core.number_text import format_figure
from features.crops.crop_store import open_member_store
from features.errors import ConfigError
from features.runtime.interruption import Interruption
from features.settings.learning import Sampling
from features.settings.training import MemberSettings, TrainParams
from stage1_cnn.compare.judged_rows import find_domains
from stage1_cnn.compare.table import Grid, print_report
from stage1_cnn.frozen.embedded import Embedded
from stage1_cnn.networks.network import settle_network
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.loader import choose_rows
from stage1_cnn.scoring.processes import join_processes
from stage1_cnn.train.frozen_member import embed_train, fit_rows
from stage1_cnn.update.gain import DomainGain, compare_heads, tell_gain

MANIFEST = Path("artifacts/manifest")


class Domain(NamedTuple):
    """The rows that are new: all of one generator or source."""

    column: str
    """`generator` or `source`."""
    name: str

    def find(self, train: Manifest) -> Mask:
        """Of `(n,)` rows of train. Raises `ConfigError` where there is none."""
        return find_domains(train, {self.column: [self.name]}, "options", "--")


class UpdateEntry(NamedTuple):
    """The heads of one encoder, under one way to weigh the rows that they know."""

    backbone: str
    weighing: str
    gains: Mapping[str, DomainGain]
    """As of `compare_heads`."""


def run(
    params: TrainParams,
    domain: Domain,
    backbones: Sequence[str] | None,
    out: Path,
    max_minutes: float | None = None,
) -> list[UpdateEntry]:
    """Fits, judges, prints, and writes `update.csv`.

    Raises `Stopped`, `ConfigError`, `ManifestError`.
    """
    train = read_manifest(MANIFEST, "train")
    is_new = domain.find(train)
    entries: list[UpdateEntry] = []
    with join_processes() as processes, Interruption(max_minutes) as interruption:
        sessions = Sessions(processes, interruption)
        others = [params.resolve_backbone(name) for name in params.backbones]
        for backbone in _choose_frozen(params, backbones):
            interruption.stop_at_once()
            settings = settle_network(params.resolve_backbone(backbone))
            shown = (settings.images.mode, settings.image_size)
            with processes.meet_after():
                store = open_member_store(train, Path(params.data.root), params.images, *shown)
            embedded = embed_train(settings, store, train, params.images, sessions, others)
            interruption.stop_at_once()
            gains = judge_heads(settings, train, is_new, embedded.rows, params.seed, sessions)
            entries += [UpdateEntry(backbone, weighing, found) for weighing, found in gains.items()]
    write_text(out / "update.csv", _build_table(entries).to_csv(index=False))
    _print(entries, domain, *count_classes(train.labels[is_new]))
    return entries


def judge_heads(
    settings: MemberSettings,
    train: Manifest,
    is_new: Mask,
    embedded: Embedded,
    seed: int,
    sessions: Sessions,
) -> dict[str, Mapping[str, DomainGain]]:
    """Of each way to weigh the rows, what heads that know the new ones are against heads that know
    none of them and weigh as `sampling` says.

    On folds alone whose heads may learn from some of the new rows. Raises `ConfigError` where there
    is none, `Stopped`.
    """
    judged: list[Ids] = []
    before: list[Floats] = []
    weighings = _list_weighings(settings, train, is_new)
    after: dict[str, list[Floats]] = {weighing: [] for weighing in weighings}
    for fold in sorted(set(train.folds[train.folds >= 0].tolist())):
        sessions.check_time(f"before the heads of fold {fold}")
        rows = choose_rows(train, fold, settings.sampling, seed)
        known = is_new[rows.row_ids]
        if not known.any():
            continue
        own, others = train.fold_rows(fold), replace(rows, row_ids=rows.row_ids[~known])
        judged.append(own)
        shown = embedded.average(own)
        head = fit_rows(settings, train, others, embedded, seed).head
        before.append(head.score(shown).astype(np.float64))
        for weighing, sampling in weighings.items():
            changed = settings.model_copy(update={"sampling": sampling})
            head = fit_rows(changed, train, rows, embedded, seed).head
            after[weighing].append(head.score(shown).astype(np.float64))
    if not judged:
        problem = (
            "heads may learn from none of the new rows: they are calibration rows, or left out"
        )
        advice = "Add more of them; see folds.calibration and sampling.limit_rows"
        raise ConfigError("options", [problem], advice)
    ids, plain = np.concatenate(judged), np.concatenate(before)
    return {
        weighing: compare_heads(train, is_new, ids, plain, np.concatenate(scores))
        for weighing, scores in after.items()
    }


def _choose_frozen(params: TrainParams, asked: Sequence[str] | None) -> list[str]:
    frozen = [name for name, entry in params.backbones.items() if entry.kind == "frozen"]
    wrong = [name for name in asked or [] if name not in frozen]
    if wrong or not frozen:
        problem = f"{', '.join(wrong)}: not an entry of kind frozen" if wrong else "none is frozen"
        raise ConfigError("backbones", [problem], "Networks that learn are made by dvc repro")
    return list(asked or frozen)


def _list_weighings(settings: MemberSettings, train: Manifest, is_new: Mask) -> dict[str, Sampling]:
    """`sampling` as it is, and, where the new ones are fakes, every generator alike: ten of half a
    million pictures hardly weigh otherwise.
    """
    found = {"sampling": settings.sampling}
    if (train.labels[is_new] == 1).all() and settings.sampling.weights != "generator":
        limits = settings.sampling.model_dump(include={"limit_rows", "take"})
        found["weights: generator"] = Sampling(mode="weighted", weights="generator", **limits)
    return found


def _build_table(entries: Sequence[UpdateEntry]) -> pd.DataFrame:
    rows = []
    for entry in entries:
        for name, gain in entry.gains.items():
            row: dict[str, Any] = {"backbone": entry.backbone, "weighing": entry.weighing}
            row |= {"rows": name, "reals": gain.reals, "fakes": gain.fakes}
            for side in ("before", "after", "difference"):
                found = getattr(gain, side).to_metrics()
                row |= {f"{side}{key.removeprefix('auc')}": v for key, v in found.items()}
            rows.append(row)
    return pd.DataFrame(rows)


def _print(entries: Sequence[UpdateEntry], domain: Domain, reals: int, fakes: int) -> None:
    headers = ("entry", "on", "AUC before", "after", "difference", "")
    rows = [
        (
            f"{entry.backbone}, {entry.weighing}", name, format_figure(gain.before.auc),
            format_figure(gain.after.auc), gain.difference.describe_difference(),
            tell_gain(gain),
        )
        for entry in entries
        for name, gain in entry.gains.items()
    ]  # fmt: skip
    title = f"{domain.column} {domain.name}: {reals} real, {fakes} fake rows of train"
    notes = (
        "Heads that know the new rows, but for the fold that is judged, against heads that know "
        "none. `new`: these rows, with all others of a class that they lack; `old`: all others. "
        "95 % intervals hold the rows that are judged, not those that heads have learned from.",
    )
    print_report([Grid(title, headers, rows)], [], notes, Console())
