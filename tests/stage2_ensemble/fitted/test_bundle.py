"""The ensemble on disk: exact, without pickle, and never trusted when damaged.

LightGBM ends the process on a damaged model text, so these tests also show that it is not asked.
"""

import pickletools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out, spare

from features.core.files import digest_file, read_sealed, write_sealed
from features.errors import IntegrityError, MissingArtifactError
from features.settings.members import ActiveFolds
from features.settings.stacking import Decision, Gate, Label, Stack, StackParams
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.fitted.bundle import read_ensemble, write_ensemble
from stage2_ensemble.models import candidates, forest
from stage2_ensemble.models.best_simple import BestSimple
from stage2_ensemble.models.boosted import FoldModels
from stage2_ensemble.models.candidates import GATED, SIMPLE
from stage2_ensemble.stack.run import fit_ensemble

SETTINGS = Stack(
    inner_folds=3,
    candidates=GATED,
    repeats=1,
    bags=2,
    pca_components=3,
    max_rounds=8,
    learning_rate=0.3,
    num_leaves=7,
)
PARAMS = StackParams(
    folds=ActiveFolds(active=(0, 1)),
    backbones={"net-a": {}},
    outside={},
    seed=0,
    stack=SETTINGS,
    gate=Gate(ship="lightgbm"),
    decision=Decision(review=0.2),
    label=Label(),
)
BACKBONES = ("net-a", "net-b", "net_c")
BAGS = ("lightgbm-0.txt", "lightgbm-1.txt")
FILES = [
    "MANIFEST.json",
    "ensemble.json",
    *(
        f"models/held_out/{name}.npy"
        for name in ("groups", "labels", "log_odds", "row_ids", "weights")
    ),
    *(f"models/{name}/{bag}" for name in ("lightgbm", "random_forest") for bag in BAGS),
    *(
        f"models/{name}/pca-{fold}-{backbone}.npy"
        for name in ("lightgbm", "random_forest")
        for fold in (0, 1)
        for backbone in BACKBONES
    ),
    *(
        f"models/lightgbm_pca/fold-{fold}/{file}"
        for fold in (0, 1)
        for file in (*BAGS, *(f"pca-{fold}-{backbone}.npy" for backbone in BACKBONES))
    ),
    *(
        f"models/without/{left_out}/{file}"
        for left_out in BACKBONES
        for file in (
            *BAGS,
            *(f"pca-{k}-{b}.npy" for k in (0, 1) for b in BACKBONES if b != left_out),
        )
    ),
]
DAMAGE = (IntegrityError, MissingArtifactError)


def draw(fold: int, seed: int) -> FoldColumns:
    """Fold rows with two generators and a forensic column."""
    columns = draw_columns(fold, seed=seed)
    rng = np.random.default_rng(seed)
    named = np.where(columns.labels == 1, rng.choice(["gan", "diffusion"], 200), "")
    sources = rng.choice(["phone", "camera"], 200).astype(object)
    extras = rng.normal(size=(200, 1)).astype(np.float32)
    return replace(
        columns,
        domains=named.astype(object),
        sources=sources,
        extras=extras,
        extra_names=("forensic:blur",),
    )


@pytest.fixture(scope="module")
def ensemble():
    folds = [draw(0, 0), draw(1, 50)]
    spared = [spare(c) for c in folds]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LEAST_ROWS", 10)
        patch.setattr(forest, "TREES", 20)
        return fit_ensemble(folds, spared, PARAMS, "d" * 64, 0.6)


@pytest.fixture(scope="module")
def written(ensemble, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_ensemble(ensemble, folder)
    return folder


@pytest.fixture
def bundle(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def list_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", [*SIMPLE, *GATED])
def test_scores_come_back_to_the_last_bit(ensemble, written, name):
    back = read_ensemble(written)
    new = [hold_out(draw(fold, 300)) for fold in (0, 1)]
    np.testing.assert_array_equal(back.score(name, new), ensemble.score(name, new))
    assert tuple(back.models) == (*SIMPLE, *GATED)
    assert type(back.models[name]) is type(ensemble.models[name])


def test_facts_come_back(ensemble, written):
    back = read_ensemble(written)
    for name in ("backbones", "folds", "train_digest", "shipped", "gate_choice", "rule_rows"):
        assert getattr(back, name) == getattr(ensemble, name)
    for name in ("digests", "oof_auc", "picks"):
        assert dict(getattr(back, name)) == dict(getattr(ensemble, name))
    assert back.rules.prior == ensemble.rules.prior
    assert back.rules.band == ensemble.rules.band
    assert back.rules.band is not None
    scores = np.linspace(-3, 3, 50)
    for name, rule in ensemble.rules.scorers.items():
        assert back.rules.scorers[name].threshold == rule.threshold
        found, wanted = (e.rules.read(name, scores) for e in (back, ensemble))
        np.testing.assert_array_equal(found, wanted)
    for name, values in vars(ensemble.rules.held_out).items():
        np.testing.assert_array_equal(getattr(back.rules.held_out, name), values)
    assert back.verdicts == ensemble.verdicts
    assert [v.name for v in back.verdicts] == list(GATED)
    kinds = {gain.kind for verdict in back.verdicts for gain in verdict.unseen}
    assert kinds == {"generators", "sources of reals", "generators and sources of reals"}


def test_models_without_a_backbone_come_back(ensemble, written):
    back = read_ensemble(written)
    assert tuple(back.without) == BACKBONES
    new = hold_out(draw(1, 300))
    for backbone, wanted in ensemble.without.items():
        found = back.without[backbone]
        assert found.to_json() == wanted.to_json()
        rest = new.without(backbone)
        np.testing.assert_array_equal(found.model.score(rest), wanted.model.score(rest))


@pytest.mark.parametrize("start", SIMPLE)
@pytest.mark.parametrize("trees", [True, False])
def test_what_boosting_begins_at_comes_back_with_or_without_trees(ensemble, tmp_path, start, trees):
    simple = BestSimple(ensemble.models[start].combiner, 1 / 3, -0.7)
    model = ensemble.models["lightgbm"]
    model = replace(model, start=simple, boosters=model.boosters if trees else ())
    parts = ensemble.models["lightgbm_pca"].models
    by_fold = FoldModels({k: replace(part, start=simple) for k, part in parts.items()})
    models = {"lightgbm": model, "lightgbm_pca": by_fold}
    write_ensemble(replace(ensemble, models=ensemble.models | models, without={}), tmp_path)
    back, new = read_ensemble(tmp_path), hold_out(draw(0, 300))
    for name, wanted in models.items():
        np.testing.assert_array_equal(back.models[name].score(new), wanted.score(new))
    assert back.models["lightgbm"].start.to_json() == simple.to_json()
    assert len(back.models["lightgbm"].boosters) == (2 if trees else 0)
    texts = [name for name in list_files(tmp_path / "models/lightgbm") if name.endswith(".txt")]
    assert texts == (list(BAGS) if trees else [])
    if not trees:
        scores = back.models["lightgbm"].score(new)
        np.testing.assert_array_equal(scores, simple.score(new))


@pytest.mark.parametrize("candidates", [(), ("lightgbm",)])
def test_bundles_with_fewer_models(ensemble, tmp_path, candidates):
    few = {name: ensemble.models[name] for name in (*SIMPLE, *candidates)}
    write_ensemble(replace(ensemble, models=few, verdicts=(), without={}), tmp_path)
    back = read_ensemble(tmp_path)
    assert (set(back.models), back.verdicts) == (set(few), ())
    assert {Path(name).parent.as_posix() for name in list_files(tmp_path)} == {
        ".",
        "models/held_out",
        *(f"models/{name}" for name in candidates),
    }


def test_tables_without_distances_come_back(tmp_path):
    columns = draw(0, 0)
    reals = columns.labels == 0
    few = replace(columns, groups=np.where(reals, np.cumsum(reals) % 9, 1000 + np.arange(200)))
    assert len(np.unique(few.groups[reals])) == 9
    settings = SETTINGS.model_copy(update={"candidates": ("lightgbm",)})
    params = PARAMS.model_copy(update={"stack": settings})
    spared = spare(few)
    ensemble = fit_ensemble([few], [spared], params, "d" * 64, 0.6)
    assert not [n for n in ensemble.models["lightgbm"].table.names if n.startswith("distance")]
    write_ensemble(ensemble, tmp_path)
    new = [hold_out(draw(0, 300))]
    found = read_ensemble(tmp_path).score("lightgbm", new)
    np.testing.assert_array_equal(found, ensemble.score("lightgbm", new))


def test_written_twice_it_is_the_same(ensemble, written, tmp_path):
    write_ensemble(ensemble, tmp_path)
    for name in FILES:
        assert digest_file(tmp_path / name) == digest_file(written / name)


def test_files_are_text_json_and_plain_arrays(written):
    assert list_files(written) == sorted(FILES)
    for name in FILES:
        if name.endswith(".npy"):
            assert np.load(written / name, allow_pickle=False).dtype.kind in "if"
        else:
            (written / name).read_text(encoding="utf-8")
        with pytest.raises(ValueError, match=r"opcode|pickle|stack|no bytes"):
            list(pickletools.genops((written / name).read_bytes()))


# --- damage


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(MissingArtifactError, match="dvc repro stack"):
        read_ensemble(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(bundle, name):
    content = (bundle / name).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 2):
        (bundle / name).write_bytes(content[:size])
        with pytest.raises(DAMAGE):
            read_ensemble(bundle)


@pytest.mark.parametrize("name", [name for name in FILES if name != "MANIFEST.json"])
def test_one_edited_byte(bundle, name):
    content = (bundle / name).read_bytes()
    for place in np.linspace(0, len(content) - 1, 7).astype(int):
        edited = bytearray(content)
        edited[place] ^= 1
        (bundle / name).write_bytes(edited)
        with pytest.raises(IntegrityError, match="sha256"):
            read_ensemble(bundle)


@pytest.mark.fault(
    "LightGBM's text cut or changed, or not in the manifest",
    "error before LightGBM sees it",
    "Damaged and foreign files",
)
def test_many_damaged_files_and_the_process_lives(bundle):
    """60 truncations and 120 edited bytes, all over the bundle and in a model."""
    rng = np.random.default_rng(0)
    files = [name for name in FILES if name != "MANIFEST.json"]
    model = "models/lightgbm_pca/fold-1/lightgbm-1.txt"
    for kind in ["truncated"] * 60 + ["edited"] * 120:
        path = bundle / (model if rng.random() < 0.3 else rng.choice(files))
        content = path.read_bytes()
        place = int(rng.integers(len(content)))
        damaged = bytearray(content[:place] if kind == "truncated" else content)
        if kind == "edited":
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            read_ensemble(bundle)
        path.write_bytes(content)
    assert read_ensemble(bundle).folds == (0, 1)


def test_any_edited_byte_of_the_manifest_is_noticed_or_harmless(bundle, ensemble):
    path = bundle / "MANIFEST.json"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for place in rng.permutation(len(content))[:200]:
        edited = bytearray(content)
        edited[place] ^= int(rng.integers(1, 256))
        path.write_bytes(edited)
        try:
            found = read_ensemble(bundle)  # white space, say
            assert found.rules.prior == ensemble.rules.prior
        except DAMAGE:
            noticed += 1
    assert noticed > 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        "{}",
        '{"sha256": null}',
        '{"sha256": []}',
        '{"sha256": {}}',
        "{",
        "\x00",
    ],
)
def test_a_manifest_that_is_garbage(bundle, text):
    (bundle / "MANIFEST.json").write_text(text)
    with pytest.raises(IntegrityError, match="MANIFEST"):
        read_ensemble(bundle)


@pytest.mark.fault("LightGBM's text cut or changed, or not in the manifest")
@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_the_manifest_does_not_list_is_not_trusted(bundle, name):
    path = bundle / "MANIFEST.json"
    manifest = read_sealed(path, "stack")
    del manifest["sha256"][name]
    write_sealed(path, manifest)
    (bundle / name).write_bytes(b"whatever")
    with pytest.raises(IntegrityError, match="does not list"):
        read_ensemble(bundle)


def test_a_bundle_that_was_never_made(tmp_path):
    with pytest.raises(MissingArtifactError, match="dvc repro stack"):
        read_ensemble(tmp_path)


def test_a_model_card_may_be_added_and_changed(bundle, ensemble):
    (bundle / "MODEL_CARD.md").write_text("a card")
    assert read_ensemble(bundle).shipped == ensemble.shipped
    write_ensemble(ensemble, bundle)
    (bundle / "MODEL_CARD.md").write_text("another card")
    assert read_ensemble(bundle).shipped == ensemble.shipped


def test_written_over_an_older_one_with_more_it_reads(bundle, ensemble):
    models = bundle / "models"
    shutil.copytree(models / "lightgbm", models / "other")
    shutil.copy(models / "lightgbm" / "lightgbm-1.txt", models / "lightgbm" / "lightgbm-2.txt")
    few = {name: model for name, model in ensemble.models.items() if name != "random_forest"}
    write_ensemble(replace(ensemble, models=few), bundle)
    back = read_ensemble(bundle)
    assert set(back.models) == set(few)
    assert len(back.models["lightgbm"].boosters) == 2
