"""A synthetic world: manifests and dumps of made-up members whose signal is known.

A member's log-odds are `strength · ±1 + N(0, 1)`, so their AUC is Φ(√2 · strength). Its embedding
holds a second, independent signal in one direction of axes that each member draws for itself.
"""

from collections.abc import Iterable
from contextlib import chdir
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

from features.artifacts.dumps import Dump, read_dump, write_dump
from features.artifacts.forensics import seal_forensics
from features.artifacts.null_model import NullFindings, write_null_model
from features.artifacts.perturbed import Perturbed, Variant, write_perturbed
from features.core.manifest import (
    NO_FOLD,
    NO_LABEL,
    NO_OVERRIDE,
    READABLE,
    SCHEMA,
    SEEN,
    Manifest,
    write_manifest,
)
from features.core.members import Correction, MemberId
from stage1_cnn.perturb.sample import draw_sample, draw_train_sample
from stage2_ensemble.columns.columns import CalibrationColumns, FoldColumns, HeldOutColumns
from stage2_ensemble.columns.tiers import TierColumns
from stage2_ensemble.decisions.calibration import Calibration
from stage2_ensemble.decisions.calibrators import Identity
from stage2_ensemble.decisions.prior_shift import keep_train
from stage2_ensemble.decisions.rules import DecisionRule, DecisionRules
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.threshold import Threshold
from stage2_ensemble.measures.shares import Share
from stage2_ensemble.models.candidates import SIMPLE

STRENGTHS = {"net-a": 0.5, "net-b": 0.8, "net_c": 0.3}
BACKBONES = tuple(STRENGTHS)
WIDTH = 10
FORENSICS = ("noise:level", "srm:variance")
SHIFT = 0.7
TEST_UNITS = ("u0", "u0", "", "u1", "u2", "u2", "u2", "", "")
"""Of `ODD_NAMES`; the one image of `u1` cannot be read."""
ODD_NAMES = ("=cmd", "007", "NA", 'say "hi".png', "a,b.png", "1e5", "nan", "-0", "übel 1.png")
UNREADABLE = "truncated image"
STRICTNESS = 3.3
"""Standard errors either side of 0.5: honest scores are outside once in a thousand times."""
STACK = {
    "inner_folds": 3,
    "repeats": 1,
    "candidates": ["lightgbm"],
    "pca_components": 4,
    "bags": 1,
    "max_rounds": 12,
    "learning_rate": 0.2,
}
CANDIDATES = (*SIMPLE, "lightgbm")
"""What an ensemble of a world holds."""


@dataclass(frozen=True)
class Plan:
    """What a world holds."""

    active: tuple[int, ...] = (0,)
    reals: int = 60
    """Train rows of class 0 a fold; there are 1.5 times as many fakes."""
    calibration: int = 0
    """Reals, and as many fakes, that nothing learns from."""
    shuffled: bool = False
    """Train labels say nothing about the images."""
    seed: int = 0
    strengths: dict[str, float] = field(default_factory=lambda: dict(STRENGTHS))
    test_names: tuple[str, ...] = ODD_NAMES
    domains: dict[str, str] = field(default_factory=dict)
    """Val generators that are not `seen`: their fakes look like reals."""
    units: bool = False
    """Groups of train are units, but for every tenth; val has 151, one of them of both classes."""


@dataclass(frozen=True)
class World:
    """Where a world lies, and its manifests. `truth`: what the images show, by role."""

    root: Path
    plan: Plan
    train: Manifest
    val: Manifest
    test: Manifest
    truth: dict[str, np.ndarray]


def draw_rows(labels: np.ndarray, groups: np.ndarray, folds: np.ndarray, seed: int) -> pd.DataFrame:
    """A manifest table; names follow the order, weights lie between 0.5 and 1.5.

    Files are all alike, so that the null model finds nothing.
    """
    n, rng = len(labels), np.random.default_rng(seed)
    names = [f"{i:05d}.png" for i in range(n)]
    generators = np.where(labels == 1, rng.choice(["gan", "diffusion", ""], n), "")
    sources = np.random.default_rng(seed + 100).choice(["phone", "camera", ""], n)
    table = pd.DataFrame(
        {
            "row_id": np.arange(n, dtype=np.int64),
            "img_name": names,
            "path": names,
            "label": labels.astype(np.int8),
            "override": np.full(n, NO_OVERRIDE, np.int8),
            "weight": rng.uniform(0.5, 1.5, n),
            "draw_weight": 1.0,
            "fold": folds.astype(np.int16),
            "group": groups.astype(np.int64),
            "generator": generators.astype(object),
            "source": sources.astype(object),
            "unit": "",
            "domain": "",
            "width": np.full(n, 8, np.int32),
            "height": np.full(n, 8, np.int32),
            "bytes": np.full(n, 100, np.int64),
            "format": "PNG",
            "mode": "RGB",
            "exif": np.zeros(n, bool),
            "subsampling": np.full(n, -1, np.int8),
            "quant_tables": "",
            "quant_mean": np.zeros(n),
            "equalized_bytes": np.zeros(n, np.int64),
            "notes": "",
            "face": "",
            "sha256": "0" * 64,
            "status": READABLE,
        }
    )
    return table[list(SCHEMA)]


def draw_train(plan: Plan) -> pd.DataFrame:
    """Three folds and calibration rows, in mixed order; a third of the rows are in pairs."""
    rng = np.random.default_rng(plan.seed)
    counts = [(k, plan.reals, plan.reals * 3 // 2) for k in range(3)]
    counts.append((NO_FOLD, plan.calibration, plan.calibration))
    parts, group = [], 0
    for fold, reals, fakes in counts:
        for label, count in ((0, reals), (1, fakes)):
            pairs = count // 6
            groups = np.concatenate([np.repeat(np.arange(pairs), 2), np.arange(2 * pairs, count)])
            parts.append(pd.DataFrame({"label": label, "fold": fold, "group": groups + group}))
            group += count
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.iloc[rng.permutation(len(rows))]
    return draw_rows(*(rows[c].to_numpy() for c in ("label", "group", "fold")), plan.seed)


def draw_axes(seed: int) -> np.ndarray:
    """Random orthogonal axes: those of two members have nothing to do with each other."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)))[0]


def draw_member(
    truth: np.ndarray, strength: float, seed: int, axes: np.ndarray, hidden: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds `(n,)` and float16 embeddings `(n, WIDTH)` about rows of these true labels."""
    rng = np.random.default_rng(seed)
    signs = 2.0 * truth - 1
    logits = strength * signs + rng.normal(size=len(truth))
    inner = rng.normal(size=(len(truth), WIDTH))
    inner[:, 0] = 2 * (hidden * signs + inner[:, 0])
    return logits, (inner @ axes).astype(np.float16)


def draw_columns(
    fold: int = 0, reals: int = 80, fakes: int = 120, seed: int = 0, hidden: float = 1.0
) -> FoldColumns:
    """Fold rows of the three backbones in mixed order, in groups of one, row ids 1000, 1001, …"""
    n, rng = reals + fakes, np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [reals, fakes])).astype(np.int8)
    drawn = [
        draw_member(labels, strength, seed + 10 * i, draw_axes(100 * i + fold), hidden)
        for i, strength in enumerate(STRENGTHS.values())
    ]
    return FoldColumns(
        fold=fold,
        backbones=BACKBONES,
        row_ids=np.arange(1000, 1000 + n),
        logits=np.stack([logits for logits, _ in drawn], axis=1),
        embeddings=tuple(embeddings for _, embeddings in drawn),
        labels=labels,
        weights=np.ones(n),
        groups=np.arange(n),
    )


def hold_out(columns: FoldColumns) -> HeldOutColumns:
    """The same rows without labels."""
    return HeldOutColumns(**{f.name: getattr(columns, f.name) for f in fields(HeldOutColumns)})


def spare(columns: FoldColumns) -> CalibrationColumns:
    """The same rows as ones that no model learns from."""
    return CalibrationColumns(
        **vars(hold_out(columns)),
        labels=columns.labels,
        weights=columns.weights,
        groups=columns.groups,
    )


def as_tier(columns: FoldColumns) -> TierColumns:
    """The same rows as if they were under a tier that changes nothing."""
    return TierColumns(
        **vars(hold_out(columns)),
        labels=columns.labels,
        weights=columns.weights,
        groups=columns.groups,
    )


def make_rules(thresholds: dict[str, float], train: float = 0.6) -> DecisionRules:
    """Log-odds are read as they are, labels follow these thresholds."""
    as_it_is = Calibration(Identity(), {}, 0.0, 0.0, "made up")
    rates = {"fpr": Share(0.1), "tpr": Share(0.9)}
    scorers = {
        name: DecisionRule(
            as_it_is, Threshold(value, None, None, "balanced_accuracy", None, None, **rates)
        )
        for name, value in thresholds.items()
    }
    labels = np.tile([0, 1], 20).astype(np.int8)
    rows = ChoiceRows(
        row_ids=np.arange(40),
        log_odds=2.0 * labels - 1,
        groups=np.arange(40),
        labels=labels,
        weights=np.ones(40),
    )
    return DecisionRules(scorers, keep_train(train), None, rows)


def draw_grouped(fold: int = 0, seed: int = 0) -> FoldColumns:
    """200 rows, of which 60 in pairs and 30 in threes, that do not stand together."""
    columns = draw_columns(fold, seed=seed)
    groups = np.arange(200)
    for label in (0, 1):
        places = np.flatnonzero(columns.labels == label)
        groups[places[:30]] = 1000 + 100 * label + np.arange(30) % 15
        groups[places[30:45]] = 2000 + 100 * label + np.arange(15) % 5
    row_ids = 1000 * (fold + 1) + np.arange(200)
    return replace(columns, groups=groups + 10_000 * fold, row_ids=row_ids)


def draw_noise(
    fold: int = 0, reals: int = 80, fakes: int = 120, seed: int = 0, width: int = WIDTH
) -> FoldColumns:
    """What honest members say about rows whose labels were shuffled before folding.

    Labels still mean something to the members, but not to these rows. Other `width`s than that
    of the world hold nothing but noise.
    """
    columns = draw_columns(fold, reals, fakes, seed)
    rng = np.random.default_rng(seed + fold)
    labels = rng.permutation(columns.labels)
    if width == WIDTH:
        return replace(columns, labels=labels)
    shape = (len(BACKBONES), len(columns), width)
    return replace(columns, labels=labels, embeddings=tuple(rng.normal(size=shape).astype("f2")))


def list_groups(columns: FoldColumns, row_ids: Iterable[int]) -> set[int]:
    """The groups that these rows are of."""
    return set(columns.groups[np.isin(columns.row_ids, list(row_ids))])


def is_null(labels: np.ndarray, scores: np.ndarray) -> bool:
    """Whether the AUC lies where scores that know nothing have theirs, but once in a thousand."""
    reals, fakes = np.bincount(labels, minlength=2)
    error = np.sqrt((fakes + reals + 1) / (12 * fakes * reals))
    return abs(roc_auc_score(labels, scores) - 0.5) <= STRICTNESS * error


def build_world(root: Path, plan: Plan) -> World:
    """Writes manifests, the dumps of all members, and `params.yaml`, below `root`."""
    train = draw_train(plan)
    truth = {"train": train["label"].to_numpy(copy=True)}
    if plan.shuffled:
        train["label"] = np.random.default_rng(plan.seed + 1).permutation(truth["train"])
    rng = np.random.default_rng(plan.seed + 2)
    truth["val"] = rng.permutation(np.repeat([0, 1], [120, 180]))
    truth["test"] = rng.integers(0, 2, len(plan.test_names))
    if plan.units:
        truth["val"] = np.sort(truth["val"])
    none = {role: np.full(len(truth[role]), NO_FOLD) for role in ("val", "test")}
    groups = {role: np.arange(len(truth[role])) for role in ("val", "test")}
    val = draw_rows(truth["val"], groups["val"], none["val"], plan.seed + 3)
    val["domain"] = [plan.domains.get(generator, SEEN) for generator in val["generator"]]
    truth["val"] = np.where(val["domain"] == SEEN, truth["val"], 0)
    test = draw_rows(truth["test"], groups["test"], none["test"], plan.seed + 4)
    test = test.assign(label=np.int8(NO_LABEL), generator="", source="")
    test["img_name"] = list(plan.test_names)
    if len(test) > 3:
        test.loc[3, "status"] = UNREADABLE
    if plan.units:
        train["unit"] = [f"clip {g}" if g % 10 else "" for g in train["group"]]
        val["group"] = (val["row_id"] + 1) // 2  # rows 119 and 120 are a real and a fake
        val["unit"] = [f"clip {g}" for g in val["group"]]
        test["unit"] = list(TEST_UNITS)
    folder = root / "artifacts" / "manifest"
    manifests = {
        role: write_manifest(table, role, folder / f"{role}.parquet")
        for role, table in (("train", train), ("val", val), ("test", test))
    }
    world = World(root, plan, truth=truth, **manifests)
    for backbone in plan.strengths:
        for fold in plan.active:
            for role in manifests:
                write_member_dump(world, backbone, fold, role)
    for manifest in manifests.values():
        write_noise_features(root, manifest, plan.seed)
    write_perturbed_val(world)
    write_params(world)
    return world


def write_noise_features(root: Path, manifest: Manifest, seed: int = 0) -> None:
    """Two forensic features that say nothing."""
    folder = root / "artifacts" / "forensics"
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng([seed, 9]).normal(size=(len(manifest), 2)).astype(np.float32)
    np.save(folder / f"{manifest.role}.npy", values)
    seal_forensics(folder, manifest, FORENSICS)


def write_member_dump(world: World, backbone: str, fold: int, role: str, **changes: object) -> None:
    """What member (backbone, fold) says; `changes` replace fields of its `MemberId`."""
    manifest: Manifest = getattr(world, role)
    place = list(world.plan.strengths).index(backbone)
    row_ids = manifest.rows_to_dump(fold)
    seed = [world.plan.seed, place, fold, ["train", "val", "test"].index(role)]
    axes = draw_axes(world.plan.seed + 100 * place + fold)
    strength = world.plan.strengths[backbone]
    logits, embeddings = draw_member(world.truth[role][row_ids], strength, seed, axes)
    member = MemberId(backbone, fold, "m" * 64, world.train.digest, Correction(SHIFT))
    dump = Dump(
        role=role,
        member=replace(member, **changes),
        row_ids=row_ids,
        logits=(logits - SHIFT).astype(np.float32),
        embeddings=embeddings,
    )
    folder = world.root / "artifacts" / "dumps" / backbone / str(fold)
    write_dump(dump, manifest, folder)


PERTURBED_ROWS = 200
VARIANTS = (
    *(Variant("clean", None), Variant("web", None)),
    *(Variant("jpeg", 75.0), Variant("noise", 8.0)),
)
STRENGTH_LEFT = {"clean": 1.0, "web": 0.5, "jpeg": 0.9, "noise": 0.0}
"""What is left of each member's signal."""


def write_perturbed_val(world: World, **changes: str) -> None:
    """What members say of perturbed val rows: of those as they are, what their dumps say.

    `changes` replace fields of each `MemberId`. Embeddings stay as they are.
    """
    val, ids = world.val, draw_sample(world.val, PERTURBED_ROWS, 0)
    found = perturb_rows(world, val, ids, VARIANTS, world.plan.active, **changes)
    write_perturbed(found, val, world.root / "artifacts" / "perturbed")


def write_perturbed_train(world: World, names: Iterable[str] = ("web",), **changes: str) -> None:
    """The same of rows of each fold and calibration rows under tiers."""
    variants = tuple(Variant(name, None) for name in names)
    for fold in world.plan.active:
        ids = draw_train_sample(world.train, fold, "all", 0)
        found = perturb_rows(world, world.train, ids, variants, (fold,), **changes)
        write_perturbed(found, world.train, world.root / "artifacts" / "tiers" / str(fold))


def perturb_rows(
    world: World,
    manifest: Manifest,
    ids: np.ndarray,
    variants: tuple[Variant, ...],
    folds: Iterable[int],
    **changes: str,
) -> Perturbed:
    """What dumps say of rows, less the signal that each variant takes away."""
    members, logits, embeddings = [], [], []
    for backbone in world.plan.strengths if len(ids) else ():
        for fold in folds:
            folder = world.root / "artifacts" / "dumps" / backbone / str(fold)
            dump = read_dump(folder, manifest, backbone, fold)
            places = np.searchsorted(dump.row_ids, ids)
            signal = np.where(world.truth[manifest.role][ids] == 1, 1.0, -1.0)
            strength = world.plan.strengths[backbone]
            lost = [strength * signal * (1 - STRENGTH_LEFT[v.perturbation]) for v in variants]
            members.append(replace(dump.member, **changes))
            logits.append((dump.logits[places] - np.stack(lost)).astype(np.float32))
            embeddings.append(np.stack([dump.embeddings[places]] * len(variants)))
    if not members:
        return Perturbed(ids, note="there are no rows")
    values = np.load(world.root / "artifacts" / "forensics" / f"{manifest.role}.npy")[ids]
    forensics = np.stack([values] * len(variants))
    parts = (tuple(members), tuple(logits), tuple(embeddings))
    return Perturbed(ids, variants, *parts, FORENSICS, forensics)


def replace_val(world: World, table: pd.DataFrame) -> None:
    """Another val manifest of as many rows, and all that `evaluate` reads of it."""
    artifacts = world.root / "artifacts"
    val = write_manifest(table, "val", artifacts / "manifest" / "val.parquet")
    changed = replace(world, val=val)
    write_noise_features(world.root, val)
    for backbone in BACKBONES:
        write_member_dump(changed, backbone, 0, "val")
    write_perturbed_val(changed)
    null = NullFindings(np.zeros(len(val)), {"told_apart": False, "main_feature": "width"})
    write_null_model(null, world.train, val, artifacts / "null_model")


def write_params(world: World, **sections: object) -> None:
    """`params.yaml` of the second stage, `sections` replaced."""
    values = {
        "seed": 0,
        "folds": {"count": 3, "active": list(world.plan.active)},
        "backbones": {name: {"model": "none"} for name in world.plan.strengths},
        "outside": {},
        "stack": STACK,
        "gate": {"margin": 0.0005},
        "decision": {"threshold": "balanced_accuracy"},
        "label": {"prior": "train"},
        "schedule": {"epochs": 1},
    }
    text = yaml.safe_dump(values | sections, sort_keys=False)
    (world.root / "params.yaml").write_text(text, encoding="utf-8")


def run_stages(world: World) -> None:
    """Runs null_model, stack, evaluate and label in the world's folder."""
    from features.null_model import run as null_model
    from features.null_model.settings import NullParams
    from features.settings.members import MembersParams
    from features.settings.sections import load_params
    from features.settings.stacking import StackParams
    from stage2_ensemble.evaluate import run as evaluate
    from stage2_ensemble.label import run as label
    from stage2_ensemble.stack import run as stack

    with chdir(world.root):
        null_model.run(load_params(NullParams))
        stack.run(load_params(StackParams))
        evaluate.run(load_params(MembersParams))
        label.run(load_params(MembersParams))
