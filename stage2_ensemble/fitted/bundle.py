"""The ensemble on disk, without pickle: LightGBM text, JSON, npy, and a manifest of sha256s.

The sums are checked before anything is parsed: LightGBM 4.7 ends the process on a damaged model.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from features.core.auc import AucEstimate
from features.core.files import check_form, write_array, write_json, write_text
from features.core.sums import check_sums, write_sums
from features.errors import IntegrityError
from stage2_ensemble.columns.basis import Axes
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.columns.projection import Distance, Projection
from stage2_ensemble.decisions.conformal import Band
from stage2_ensemble.decisions.poolings import PoolingChoice
from stage2_ensemble.decisions.prior_shift import Prior
from stage2_ensemble.decisions.rules import DecisionRule, DecisionRules
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.gate.gate import Verdict
from stage2_ensemble.gate.without import Without
from stage2_ensemble.models.best_simple import BestSimple
from stage2_ensemble.models.boosted import Boosted, FoldModels
from stage2_ensemble.models.candidates import Model, Pooled
from stage2_ensemble.models.combiners import COMBINERS
from stage2_ensemble.models.forest import Forest

MANIFEST = "MANIFEST.json"
ENSEMBLE = "ensemble.json"
MODELS = Path("models")
"""All other files. So the stage `report` can add the model card to the folder, which DVC would not
let it do to a folder of `stack`."""
HELD_OUT, UNITS_HELD_OUT = MODELS / "held_out", MODELS / "held_out_units"
WITHOUT = MODELS / "without"
ADVICE = "Make it again: dvc repro -f stack"
_FORM = {
    "shipped": str,
    "gate_choice": str,
    "backbones": list,
    "folds": list,
    "train_manifest": str,
    "members": dict,
    "oof_auc": dict,
    "picks": dict,
    "verdicts": list,
    "rules": dict,
    "unit_rules": dict | None,
    "unit_pooling": dict | None,
    "rule_rows": str,
    "file_codes": dict | None,
    "models": dict,
    "without": dict,
}


def write_ensemble(ensemble: SecondStage, folder: Path) -> None:
    """Writes all files, and the manifest last."""
    facts: dict[str, Any] = {
        "shipped": ensemble.shipped,
        "gate_choice": ensemble.gate_choice,
        "backbones": list(ensemble.backbones),
        "folds": list(ensemble.folds),
        "train_manifest": ensemble.train_digest,
        "members": {str(fold): list(digests) for fold, digests in ensemble.digests.items()},
        "oof_auc": dict(ensemble.oof_auc),
        "picks": dict(ensemble.picks),
        "verdicts": [verdict.to_json() for verdict in ensemble.verdicts],
        "rules": _write_rules(ensemble.rules, folder / HELD_OUT),
        "unit_rules": ensemble.unit_rules
        and _write_rules(ensemble.unit_rules, folder / UNITS_HELD_OUT),
        "unit_pooling": ensemble.unit_pooling and ensemble.unit_pooling.to_json(),
        "rule_rows": ensemble.rule_rows,
        "file_codes": ensemble.file_codes,
        "models": {
            name: _write_model(model, folder, MODELS / name)
            for name, model in ensemble.models.items()
        },
        "without": {
            backbone: {
                **less.to_json(),
                "model": _write_model(less.model, folder, WITHOUT / backbone),
            }
            for backbone, less in ensemble.without.items()
        },
    }
    write_json(folder / ENSEMBLE, facts)
    parts = (path for path in (folder / MODELS).rglob("*") if path.is_file())
    files = [folder / ENSEMBLE, *parts]
    write_sums(folder / MANIFEST, files)


def _write_rules(rules: DecisionRules, folder: Path) -> dict[str, Any]:
    """All but the rows, which go to files in `folder`."""
    for name, values in vars(rules.held_out).items():
        write_array(folder / f"{name}.npy", values)
    return {
        "prior": rules.prior.to_json(),
        "band": rules.band.to_json() if rules.band else None,
        "scorers": {name: rule.to_json() for name, rule in rules.scorers.items()},
    }


def _write_model(model: Model, folder: Path, place: Path) -> dict[str, Any]:
    """What is known of a model; large parts go to files in `place` below `folder`."""
    if isinstance(model, Pooled):
        return {"combiner": model.combiner.to_json()}
    if isinstance(model, FoldModels):
        parts = model.models.items()
        return {"folds": {str(k): _write_model(m, folder, place / f"fold-{k}") for k, m in parts}}
    assert isinstance(model, Boosted | Forest)
    for bag, booster in enumerate(model.boosters):
        write_text(folder / place / f"lightgbm-{bag}.txt", booster.model_to_string())
    table = model.table
    axes = {
        str(fold): [_write_axes(a, folder / place / f"pca-{fold}-{b}.npy") for a, b in pairs]
        for fold, pairs in (
            (fold, zip(own, table.backbones, strict=True)) for fold, own in table.axes.items()
        )
    }
    facts = {"bags": len(model.boosters), "names": list(table.names), "axes": axes}
    if isinstance(model, Forest):
        return {"shift": model.shift, **facts}
    return {"start": model.start.to_json(), **facts}


def _write_axes(axes: Axes, path: Path) -> dict[str, Any] | None:
    """Writes the projection; returns the distance."""
    # The mean is row 0, the components follow: one array a backbone.
    write_array(path, np.concatenate([axes.projection.mean[None], axes.projection.components]))
    if axes.distance is None:
        return None
    coefficients = list(map(float, axes.distance.coefficients))
    return {"coefficients": coefficients, "intercept": axes.distance.intercept}


def read_ensemble(folder: Path) -> SecondStage:
    """Checks every file's sha256, then reads.

    Raises `MissingArtifactError`, `IntegrityError`.
    """
    files = check_bundle(folder)
    facts = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))
    check_form(folder / ENSEMBLE, facts, _FORM, "stack")
    backbones = tuple(facts["backbones"])
    reader = _Reader(folder, backbones, files)
    return SecondStage(
        backbones=backbones,
        folds=tuple(facts["folds"]),
        train_digest=facts["train_manifest"],
        digests={int(fold): tuple(digests) for fold, digests in facts["members"].items()},
        shipped=facts["shipped"],
        gate_choice=facts["gate_choice"],
        models={name: reader.read(name, m, MODELS / name) for name, m in facts["models"].items()},
        oof_auc=facts["oof_auc"],
        picks=facts["picks"],
        verdicts=tuple(Verdict.from_json(values) for values in facts["verdicts"]),
        rules=reader.read_rules(facts["rules"], HELD_OUT),
        unit_rules=facts["unit_rules"] and reader.read_rules(facts["unit_rules"], UNITS_HELD_OUT),
        unit_pooling=facts["unit_pooling"] and PoolingChoice.from_json(facts["unit_pooling"]),
        rule_rows=facts["rule_rows"],
        file_codes=facts["file_codes"],
        without={name: reader.read_without(name, w) for name, w in facts["without"].items()},
    )


def check_bundle(folder: Path) -> set[str]:
    """Names of the files of the bundle, each checked; raises as `read_ensemble`."""
    files = check_sums(folder / MANIFEST, "stack", "*")
    names = {path.relative_to(folder).as_posix() for path in files}
    if ENSEMBLE not in names:
        raise IntegrityError(folder / MANIFEST, "it does not list the ensemble", ADVICE)
    return names


class _Reader:
    """Reads models out of a bundle whose files, named in `files`, have been checked."""

    def __init__(self, folder: Path, backbones: tuple[str, ...], files: set[str]) -> None:
        self._folder, self._backbones, self._files = folder, backbones, files

    def read(self, name: str, facts: dict[str, Any], place: Path) -> Model:
        """The model of this candidate, which was written into `place`."""
        if "combiner" in facts:
            return Pooled(COMBINERS[name].from_json(facts["combiner"]))
        if "folds" in facts:
            parts = facts["folds"].items()
            return FoldModels(
                {int(k): self._read_boosted(m, place / f"fold-{k}") for k, m in parts}
            )
        if "start" in facts:
            return self._read_boosted(facts, place)
        return Forest(*self._read_trees(facts, place), facts["shift"])

    def read_rules(self, facts: dict[str, Any], place: Path) -> DecisionRules:
        """The rules, and the rows that were written into `place`."""
        names = [field.name for field in fields(ChoiceRows)]
        rows = {name: self._read_array(place / f"{name}.npy") for name in names}
        return DecisionRules(
            {name: DecisionRule.from_json(values) for name, values in facts["scorers"].items()},
            Prior.from_json(facts["prior"]),
            Band.from_json(facts["band"]) if facts["band"] else None,
            ChoiceRows(**rows),
        )

    def read_without(self, backbone: str, facts: dict[str, Any]) -> Without:
        """What is lost without a backbone, and the model on columns of the others."""
        others = tuple(name for name in self._backbones if name != backbone)
        reader = _Reader(self._folder, others, self._files)
        return Without(
            facts["name"],
            reader.read(facts["name"], facts["model"], WITHOUT / backbone),
            shipped=AucEstimate.from_metrics(facts["shipped"]),
            simple=AucEstimate.from_metrics(facts["simple"]),
        )

    def _read_boosted(self, facts: dict[str, Any], place: Path) -> Boosted:
        return Boosted(BestSimple.from_json(facts["start"]), *self._read_trees(facts, place))

    def _read_trees(
        self, facts: dict[str, Any], place: Path
    ) -> tuple[FeatureMatrix, tuple[lightgbm.Booster, ...]]:
        axes = {
            int(fold): tuple(
                self._read_axes(distance, place / f"pca-{fold}-{backbone}.npy")
                for distance, backbone in zip(distances, self._backbones, strict=True)
            )
            for fold, distances in facts["axes"].items()
        }
        boosters = tuple(
            lightgbm.Booster(model_file=self._find(place / f"lightgbm-{bag}.txt"))
            for bag in range(facts["bags"])
        )
        return FeatureMatrix(self._backbones, tuple(facts["names"]), axes), boosters

    def _read_axes(self, distance: dict[str, Any] | None, place: Path) -> Axes:
        rows = self._read_array(place)
        projection = Projection(rows[0], rows[1:])
        if distance is None:
            return Axes(projection, None)
        coefficients = np.asarray(distance["coefficients"])
        return Axes(projection, Distance(coefficients, distance["intercept"]))

    def _read_array(self, place: Path) -> Any:
        return np.load(self._find(place), allow_pickle=False)

    def _find(self, place: Path) -> Path:
        if place.as_posix() not in self._files:
            raise IntegrityError(self._folder / MANIFEST, f"it does not list {place}", ADVICE)
        return self._folder / place
