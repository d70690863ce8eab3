"""The null model on manifests with planted facts: what tells the classes apart is found and named.

Manifests are made by hand, without any image.
"""

import io
import json
import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from features.artifacts.null_model import NullFindings, read_null_model, write_null_model
from features.core.manifest import SCHEMA, Manifest, digest_table, write_manifest
from features.core.number_text import format_figure
from features.errors import IntegrityError, MissingArtifactError, StaleArtifactError
from features.null_model import model
from features.null_model import run as null_model
from features.null_model.__main__ import main
from features.null_model.advice import NO_ADVICE
from features.null_model.file_facts import (
    FAMILIES,
    MAX_CATEGORIES,
    MISNAMED,
    build_file_facts,
    describe_names,
    encode_facts,
    learn_codes,
)
from features.null_model.model import draw_rows, measure_null
from features.null_model.settings import NullParams
from features.pixels.facts import describe_image
from features.settings.sections import load_params


def draw_table(n, seed, fakes=0.7, **columns):
    """Rows whose facts are drawn alike for both classes; `columns` replace some."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "row_id": np.arange(n),
            "img_name": [f"{x:016x}.jpg" for x in rng.integers(0, 2**63, n).tolist()],
            "label": (rng.random(n) < fakes).astype(np.int8),
            "weight": rng.uniform(0.5, 1.5, n),
            "draw_weight": 1.0,
            "fold": np.int16(0),
            "group": np.arange(n),
            "generator": "",
            "source": "",
            "unit": "",
            "domain": "seen",
            "width": rng.choice([200, 256, 300], n).astype(np.int32),
            "height": rng.choice([200, 256, 300], n).astype(np.int32),
            "bytes": rng.integers(5000, 9000, n),
            "format": "JPEG",
            "mode": rng.choice(["RGB", "L"], n),
            "exif": rng.random(n) < 0.3,
            "override": np.int8(-1),
            "subsampling": rng.choice([0, 2], n).astype(np.int8),
            "quant_tables": rng.choice(["aa", "bb", "cc"], n),
            "quant_mean": rng.choice([3.5, 8.0], n),
            "equalized_bytes": np.int64(0),
            "notes": rng.choice(["", "rotated"], n),
            "face": "",
            "sha256": "0" * 64,
            "status": "ok",
        }
    )
    table["path"] = table["img_name"]
    return table[list(SCHEMA)].assign(**columns)


def make_manifest(role, table):
    return Manifest(role, table, digest_table(table))


def draw_manifests(plant=None, sizes=(500, 400), **columns):
    """Train and val; `plant(labels, rng)` gives columns that may follow the labels."""
    made = []
    for role, n, seed in (("train", sizes[0], 1), ("val", sizes[1], 2)):
        table = draw_table(n, seed, **columns)
        if plant:
            table = table.assign(**plant(table["label"].to_numpy(), np.random.default_rng(seed)))
        made.append(make_manifest(role, table))
    return made


def mix(labels, rng, one, other, share=0.85):
    """`one` for `share` of the fakes and `other` for `share` of the reals."""
    return np.where((labels == 1) == (rng.random(len(labels)) < share), one, other)


def rename(labels, rng, one, other):
    return [
        f"{kind}{i:05d}" for i, kind in enumerate(np.where(labels == 1, one, other))
    ]  # the same number of digits for all


# --- what is told apart


def test_facts_that_are_alike_tell_nothing():
    null = measure_null(*draw_manifests(), seed=0)
    facts = null.facts
    assert 0.4 < facts["auc"] < 0.6
    assert facts["auc_low"] < facts["auc"] < facts["auc_high"]
    assert facts["told_apart"] is False
    assert facts["advice"] == NO_ADVICE == "file facts hardly tell the classes apart"
    assert facts["headline"] == "all"
    assert set(facts["families"]) == {"all", "file", "name"}
    assert null.scores.shape == (400,)
    assert null.scores.dtype == np.float64


FILE_PLANTS = {
    "width": lambda y, rng: {"width": mix(y, rng, 512, 500).astype(np.int32), "height": 500},
    "height": lambda y, rng: {"height": mix(y, rng, 512, 500).astype(np.int32), "width": 500},
    "bytes": lambda y, rng: {"bytes": rng.integers(5000, 9000, len(y)) + mix(y, rng, 2000, 0)},
    "format": lambda y, rng: {"format": mix(y, rng, "PNG", "JPEG").astype(object)},
    "mode": lambda y, rng: {"mode": mix(y, rng, "RGBA", "RGB").astype(object)},
    "quantisation tables": lambda y, rng: {"quant_tables": mix(y, rng, "dd", "ee").astype(object)},
    "quantisation mean": lambda y, rng: {"quant_mean": mix(y, rng, 4.0, 5.0)},
    "subsampling": lambda y, rng: {"subsampling": mix(y, rng, 1, 2).astype(np.int8)},
    "EXIF": lambda y, rng: {"exif": mix(y, rng, False, True).astype(bool)},
    "notes": lambda y, rng: {"notes": mix(y, rng, "animated", "").astype(object)},
}


@pytest.mark.parametrize("name", FILE_PLANTS)
def test_a_planted_file_fact_is_found_and_named(name):
    facts = measure_null(*draw_manifests(FILE_PLANTS[name]), seed=0).facts
    best = facts["features"][0]
    assert (best["name"], best["family"]) == (name, "file")
    assert facts["main_feature"] == name
    assert best["auc"] > 0.7
    has_twin = name in ("width", "height", "bytes")  # in aspect or bytes per pixel
    assert best["drop"] > (0 if has_twin else 0.2)
    assert facts["told_apart"] is True
    assert facts["auc"] > 0.7
    assert facts["families"]["name"]["auc"] < 0.6
    assert f"mostly by {name} (AUC {best['auc']:.3f} alone)" in facts["advice"]
    assert "images.equalize: true re-encodes and resizes all images alike" in facts["advice"]
    assert "networks never see names" not in facts["advice"]


def test_where_all_files_are_saved_alike_equalizing_is_not_advised():
    alike = {"width": 256, "height": 256, "mode": "RGB", "subsampling": 2, "quant_tables": "aa"}
    columns = {name: np.int32(v) if isinstance(v, int) else v for name, v in alike.items()}
    columns["subsampling"] = np.int8(2)
    facts = measure_null(*draw_manifests(FILE_PLANTS["bytes"], **columns), seed=0).facts
    assert facts["told_apart"] is True
    assert "mostly by bytes" in facts["advice"]
    assert "all files are saved alike" in facts["advice"]
    assert "images.equalize" not in facts["advice"]


def test_categories_have_no_order():
    """Each class has 120 tables of its own, by turns: taken for numbers, the AUC is 0.92."""

    def plant(labels, rng):
        number = 2 * rng.integers(0, 120, len(labels)) + mix(labels, rng, 1, 0, share=0.95)
        return {"quant_tables": [f"{x:03d}" for x in number]}

    manifests = draw_manifests(plant, sizes=(4000, 400), fakes=0.5)
    facts = measure_null(*manifests, seed=0).facts
    assert facts["main_feature"] == "quantisation tables"
    assert facts["features"][0]["auc"] > 0.94


def test_proportions_and_density_are_facts_of_their_own():
    def plant(labels, rng):
        side = rng.choice([200, 300, 400, 500, 600], len(labels))
        return {"width": (side * mix(labels, rng, 1.5, 1)).astype(np.int32), "height": side}

    assert measure_null(*draw_manifests(plant), seed=0).facts["main_feature"] == "aspect"

    def compress(labels, rng):
        side = rng.integers(100, 1000, len(labels))
        density = mix(labels, rng, 0.3, 0.2)
        size = {"width": side.astype(np.int32), "height": side.astype(np.int32)}
        return size | {"bytes": (side**2 * density).astype(np.int64)}

    assert measure_null(*draw_manifests(compress), seed=0).facts["main_feature"] == (
        "bytes per pixel"
    )


NAME_PLANTS = {
    "length of the name": lambda y, rng: [
        "a" * n + ".jpg" for n in mix(y, rng, 9, 12) + rng.integers(0, 2, len(y))
    ],
    "extension": lambda y, rng: [f"{i:05d}.{e}" for i, e in enumerate(mix(y, rng, "jpg", "JPG"))],
    "digits in the name": lambda y, rng: [("x" * n + "1" * (20 - n)) for n in mix(y, rng, 10, 13)],
}


@pytest.mark.parametrize("name", NAME_PLANTS)
def test_a_planted_name_is_found_and_the_advice_is_another(name):
    plant = NAME_PLANTS[name]
    facts = measure_null(*draw_manifests(lambda y, r: {"img_name": plant(y, r)}), seed=0).facts
    tied = [f["name"] for f in facts["features"] if f["auc"] == facts["features"][0]["auc"]]
    assert name in tied
    assert facts["features"][0]["family"] == "name"
    assert facts["families"]["name"]["auc"] > 0.75
    assert facts["families"]["file"]["auc"] < 0.6
    assert facts["told_apart"] is True
    assert "networks never see names" in facts["advice"]
    assert "images.equalize" not in facts["advice"]


def test_a_file_name_that_disagrees_with_its_format_is_a_fact_of_the_name():
    def plant(labels, rng):
        return {"notes": mix(labels, rng, "rotated;misnamed", "rotated").astype(object)}

    facts = measure_null(*draw_manifests(plant), seed=0).facts
    assert facts["main_feature"] == "misnamed"
    assert next(f for f in facts["features"] if f["name"] == "notes")["auc"] == 0.5


def test_both_families_get_their_advice():
    def plant(labels, rng):
        names = [f"{'a' * n}.jpg" for n in mix(labels, rng, 9, 12)]
        return {"img_name": names, "exif": mix(labels, rng, False, True).astype(bool)}

    advice = measure_null(*draw_manifests(plant), seed=0).facts["advice"]
    assert advice.index("mostly by EXIF") < advice.index("networks never see names")


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_folders_of_the_classes_do_not_count(separator):
    def plant(labels, rng):
        numbers = rng.permutation(len(labels))
        folders = np.where(labels == 1, "fake/long folder name/2", "real")
        names = [f"{f}/{i:06d}.jpg" for f, i in zip(folders, numbers, strict=True)]
        return {"img_name": [name.replace("/", separator) for name in names]}

    facts = measure_null(*draw_manifests(plant), seed=0).facts
    assert facts["families"]["name"]["auc"] == 0.5
    assert facts["told_apart"] is False


def test_a_fact_that_only_train_knows_does_not_help():
    train, val = draw_manifests(FILE_PLANTS["quantisation tables"])
    val = make_manifest("val", val.table.assign(quant_tables="never seen"))
    facts = measure_null(train, val, seed=0).facts
    assert facts["told_apart"] is False
    alone = next(f for f in facts["features"] if f["name"] == "quantisation tables")
    assert alone == {"name": "quantisation tables", "family": "file", "auc": 0.5, "drop": 0.0}


# --- before and after images.equalize


def equalize(plant=None, after=None):
    def planted(labels, rng):
        columns = plant(labels, rng) if plant else {}
        size = rng.integers(3000, 6000, len(labels))
        return columns | {"equalized_bytes": size + (after(labels, rng) if after else 0)}

    return draw_manifests(planted)


def test_equalizing_leaves_the_bytes_of_the_new_files_alone():
    null = measure_null(*equalize(FILE_PLANTS["EXIF"]), seed=0)
    facts = null.facts
    assert set(facts["families"]) == {"all", "file", "name", "after"}
    assert facts["families"]["all"]["auc"] > 0.75  # before
    assert facts["headline"] == "after"
    assert facts["auc"] == facts["families"]["after"]["auc"] < 0.6
    assert facts["told_apart"] is False
    assert facts["advice"] == f"after images.equalize {NO_ADVICE}"
    assert facts["main_feature"] == "bytes after images.equalize"
    assert len(np.unique(null.scores)) > 10  # those of the new files: not EXIF or none


def test_new_files_may_tell_the_classes_apart_too():
    manifests = equalize(after=lambda y, rng: mix(y, rng, 2000, 0))
    facts = measure_null(*manifests, seed=0).facts
    assert facts["told_apart"] is True
    assert facts["main_feature"] == "bytes after images.equalize"
    assert "images.equalize is on, but" in facts["advice"]
    best = facts["features"][0]
    assert best["drop"] == pytest.approx(facts["auc"] - 0.5, abs=0.06)


def test_equalizing_does_not_silence_the_advice_on_names():
    plant = NAME_PLANTS["length of the name"]
    facts = measure_null(*equalize(lambda y, rng: {"img_name": plant(y, rng)}), seed=0).facts
    assert facts["told_apart"] is False
    assert facts["advice"].startswith(f"after images.equalize {NO_ADVICE}; names tell")


# --- rows and weights


def test_held_out_rows_are_scored_but_not_measured():
    train, val = draw_manifests(FILE_PLANTS["EXIF"])
    held = val.table.iloc[:150].assign(domain="held_out", label=lambda t: 1 - t["label"])
    table = pd.concat([held, val.table.iloc[150:]])
    null = measure_null(train, make_manifest("val", table), seed=0)
    plain = measure_null(train, make_manifest("val", table.iloc[150:]), seed=0)
    assert null.facts["families"] == plain.facts["families"]
    assert null.facts["rows"]["val"]["reals"] + null.facts["rows"]["val"]["fakes"] == 250
    assert len(null.scores) == 400


def test_rows_that_weigh_nothing_teach_nothing():
    train, val = draw_manifests(FILE_PLANTS["EXIF"])
    wrong = train.table.assign(weight=1e-9, label=1 - train.table["label"])
    both = pd.concat([train.table, wrong, wrong], ignore_index=True)
    assert measure_null(make_manifest("train", both), val, seed=0).facts["auc"] > 0.75
    heavy = both.assign(weight=1.0)
    assert measure_null(make_manifest("train", heavy), val, seed=0).facts["auc"] < 0.5


def test_scores_are_log_odds_at_equal_class_shares():
    train, val = draw_manifests(FILE_PLANTS["EXIF"], sizes=(4000, 2000), fakes=0.9)
    scores = measure_null(train, val, seed=0).scores
    has_exif = val.table["exif"].to_numpy()
    odds = np.log(0.85 / 0.15)
    assert np.median(scores[has_exif]) == pytest.approx(-odds, abs=0.35)
    assert np.median(scores[~has_exif]) == pytest.approx(odds, abs=0.35)


def test_constant_facts_are_no_crash():
    def plant(labels, rng):
        constants = {"mode": "RGB", "exif": False, "quant_tables": "", "quant_mean": 0.0}
        sizes = {"width": np.int32(8), "height": np.int32(8), "bytes": 100}
        names = {"img_name": "a.png", "notes": "", "subsampling": np.int8(-1)}
        return constants | sizes | names

    null = measure_null(*draw_manifests(plant), seed=0)
    np.testing.assert_allclose(null.scores, 0, atol=1e-12)
    assert (null.facts["auc"], null.facts["auc_low"], null.facts["auc_high"]) == (0.5, 0.5, 0.5)
    assert {f["auc"] for f in null.facts["features"]} == {0.5}
    assert {f["drop"] for f in null.facts["features"]} == {0.0}
    assert null.facts["advice"] == NO_ADVICE


@pytest.mark.parametrize("role", ["train", "val"])
def test_a_single_class_is_no_crash(role, tmp_path):
    train, val = draw_manifests()
    if role == "train":
        train = make_manifest("train", train.table.assign(label=np.int8(1)))
    else:
        val = make_manifest("val", val.table.assign(label=np.int8(1)))
    null = measure_null(train, val, seed=0)
    assert null.facts["auc"] == (0.5 if role == "train" else None)
    assert null.facts["told_apart"] is False
    write_null_model(null, train, val, tmp_path)
    assert read_null_model(tmp_path, val, train.digest).facts["advice"] == NO_ADVICE


def test_tiny_tables_are_no_crash():
    train, val = draw_manifests(sizes=(6, 4))
    facts = measure_null(train, val, seed=0).facts
    assert facts["told_apart"] is False


def test_the_seed_alone_decides():
    manifests = draw_manifests(FILE_PLANTS["bytes"])
    one, other = (measure_null(*manifests, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.scores, other.scores)
    assert one.facts == other.facts


def test_many_rows_are_drawn_from_both_classes_alike(monkeypatch):
    monkeypatch.setattr(model, "MAX_FITTED", 100)
    train, val = draw_manifests(FILE_PLANTS["EXIF"], sizes=(1000, 300))
    drawn = draw_rows(train, 0)
    assert len(drawn) == len(set(drawn)) == 100
    assert train.labels[drawn].mean() == pytest.approx(train.labels.mean(), abs=0.006)
    assert not np.array_equal(drawn, draw_rows(train, 1))
    facts = measure_null(train, val, seed=0).facts
    assert facts["rows"]["fitted"] == 100
    assert facts["auc"] > 0.7


# --- facts


@pytest.mark.parametrize(
    ("name", "length", "digits", "letters", "hexes", "separators", "extension"),
    [
        ("real/00/ab12.jpg", 4, 0.5, 0.5, 1.0, 0.0, "jpg"),
        ("IMG_2024-01.JPEG", 11, 6 / 11, 3 / 11, 6 / 11, 2 / 11, "JPEG"),
        ("a.b.png", 3, 0, 2 / 3, 2 / 3, 1 / 3, "png"),
        (".hidden", 7, 0, 6 / 7, 3 / 7, 1 / 7, ""),
        ("no extension", 12, 0, 11 / 12, 2 / 12, 1 / 12, ""),
        ("übel.webp", 4, 0, 0.75, 0.5, 0, "webp"),
        ("fake\\00\\ab12.jpg", 4, 0.5, 0.5, 1.0, 0.0, "jpg"),
        ("ab12.mp4#t=1.24", 4, 0.5, 0.5, 1.0, 0.0, "mp4"),
        ("ab12.png#xywh=10,20,30,40", 4, 0.5, 0.5, 1.0, 0.0, "png"),
        ("ab12/", 4, 0.5, 0.5, 1.0, 0.0, ""),
        ("/", 0, 0, 0, 0, 0, ""),
    ],
)
def test_shape_of_a_name(name, length, digits, letters, hexes, separators, extension):
    found = {key: values[0] for key, values in describe_names([name]).items()}
    assert found == {
        "length of the name": length,
        "digits in the name": pytest.approx(digits),
        "letters in the name": pytest.approx(letters),
        "hex digits in the name": pytest.approx(hexes),
        "separators in the name": pytest.approx(separators),
        "extension": extension,
    }


def test_every_fact_stands_in_just_one_family():
    listed = [name for names in FAMILIES.values() for name in names]
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == set(build_file_facts(draw_table(5, 0)).columns)


def test_a_misnamed_file_is_noted_under_the_word_that_is_looked_for():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    assert describe_image(Image.open(buffer), "a.jpg")["notes"] == MISNAMED


def test_rare_and_unknown_categories_are_missing():
    values = [f"{i:04d}" for i in range(400)]
    facts = build_file_facts(draw_table(1000, 0, quant_tables=(values * 3)[:1000]))
    codes = learn_codes([facts[:300], facts[300:]])
    assert len(codes["quantisation tables"]) == MAX_CATEGORIES
    encoded = encode_facts(facts, codes)["quantisation tables"]
    assert np.nanmax(encoded) == MAX_CATEGORIES - 1
    assert np.isnan(encoded[values.index("0399")])  # twice, where others stand three times
    other = build_file_facts(draw_table(3, 0, quant_tables=["0000", "new", "0001"]))
    np.testing.assert_array_equal(encode_facts(other, codes)["quantisation tables"], [0, np.nan, 1])


# --- on disk


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with manifests and params, entered; EXIF tells the classes apart."""
    train, val = draw_manifests(FILE_PLANTS["EXIF"])
    for manifest in (train, val):
        path = tmp_path / "artifacts/manifest" / f"{manifest.role}.parquet"
        write_manifest(manifest.table, manifest.role, path)
    (tmp_path / "params.yaml").write_text("seed: 4\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return train, val


def test_the_stage_writes_facts_and_scores_and_says_so(place, caplog):
    train, val = place
    with caplog.at_level(logging.INFO, "forgerystack"):
        main()
    null = read_null_model(null_model.OUT, val, train.digest)
    wanted = measure_null(train, val, seed=4)
    np.testing.assert_array_equal(null.scores, wanted.scores)
    assert wanted.facts.items() <= null.facts.items()
    assert {p.name for p in null_model.OUT.iterdir()} == {"facts.json", "val.npy"}
    auc = format_figure(*(null.facts[key] for key in ("auc", "auc_low", "auc_high")))
    said = f"null model: val AUC {auc} from file facts and names alone"
    assert caplog.messages == [said, f"null model: {null.facts['advice']}"]
    assert "mostly by EXIF" in caplog.messages[1]


def test_with_equalizing_before_and_after_are_said(place, caplog):
    for manifest in equalize(FILE_PLANTS["EXIF"]):
        path = null_model.MANIFEST / f"{manifest.role}.parquet"
        write_manifest(manifest.table, manifest.role, path)
    with caplog.at_level(logging.INFO, "forgerystack"):
        null_model.run(NullParams(seed=0))
    assert caplog.messages[0].endswith("from file facts and names alone, before images.equalize")
    assert caplog.messages[1].endswith("from what images.equalize leaves")
    assert caplog.messages[2] == f"null model: after images.equalize {NO_ADVICE}"


def test_a_second_run_writes_the_same_bytes(place):
    params = load_params(NullParams)
    null_model.run(params)
    before = {p.name: p.read_bytes() for p in null_model.OUT.iterdir()}
    null_model.run(params)
    assert {p.name: p.read_bytes() for p in null_model.OUT.iterdir()} == before


FACTS = {"auc": 0.5, "auc_low": 0.4, "auc_high": 0.6, "told_apart": False}
FACTS |= {"main_feature": None}


@pytest.fixture
def written(tmp_path):
    train, val = draw_manifests(sizes=(60, 40))
    null = NullFindings(np.linspace(-1, 1, 40), FACTS)
    write_null_model(null, train, val, tmp_path)
    return tmp_path, train, val


@pytest.mark.parametrize("role", ["train", "val"])
def test_other_manifests_make_it_stale(written, role):
    folder, train, val = written
    if role == "train":
        digest = "f" * 64
    else:
        digest, val = train.digest, make_manifest("val", val.table.assign(bytes=1))
    with pytest.raises(StaleArtifactError, match=rf"made from {role} manifest.*repro null_model$"):
        read_null_model(folder, val, digest)


@pytest.mark.parametrize("name", ["facts.json", "val.npy"])
def test_a_missing_file_names_the_stage(written, name):
    folder, train, val = written
    (folder / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"{name} is missing.*dvc repro null_model$"):
        read_null_model(folder, val, train.digest)


def test_changed_files_are_refused(written):
    folder, train, val = written
    scores = folder / "val.npy"
    content = scores.read_bytes()
    scores.write_bytes(content[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"val\.npy is damaged"):
        read_null_model(folder, val, train.digest)
    scores.write_bytes(content)
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps(facts | {"auc": 0.51}))
    with pytest.raises(IntegrityError, match=r"facts\.json is damaged"):
        read_null_model(folder, val, train.digest)
