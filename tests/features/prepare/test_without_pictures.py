"""Lists alone: manifests of names, where scores come from outside and there are no pictures."""

from pathlib import Path

import pytest
from made_data import SETTINGS, prepare_params, write_table
from yaml import safe_load

from features.artifacts.forensics import read_forensics
from features.core.manifest import ROLES, read_manifest
from features.errors import ConfigError, ManifestError
from features.forensics import run as forensics
from features.forensics.settings import ForensicParams
from features.inputs.contents import KnownContents
from features.inputs.run import describe_inputs
from features.inputs.settings import check_all_params
from features.prepare.run import OUT, run
from features.prepare.verify import verify_data

LISTS = {role: {"labels": f"{role}.csv", "images": None} for role in ROLES}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """20 rows of train, of which the first is in val under its name, 8 of val and 4 of test."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "lists"
    root.mkdir()
    train = [("v0.png", 0), *((f"/mnt/a/t{i}.png", i % 2) for i in range(19))]
    val = [(f"v{i}.png", i % 2) for i in range(8)]
    write_table(root / "train.csv", ["img_name", "target"], train)
    write_table(root / "val.csv", ["img_name", "target"], val)
    write_table(root / "test.csv", ["img_name"], [(f"x/{i}",) for i in range(4)])
    return prepare_params(root, data=LISTS)


def test_names_become_rows(params) -> None:
    run(params)
    manifests = {role: read_manifest(OUT, role) for role in ROLES}
    assert manifests["train"].table["img_name"].tolist() == [f"/mnt/a/t{i}.png" for i in range(19)]
    assert manifests["val"].table["path"].tolist() == [f"v{i}.png" for i in range(8)]
    assert manifests["test"].table["img_name"].tolist() == [f"x/{i}" for i in range(4)]
    for manifest in manifests.values():
        assert not manifest.has_pictures
        assert set(manifest.table["status"]) == {"ok"}
    assert "dropped from train because val shows" in (OUT / "summary.md").read_text().lower()


def test_a_name_under_both_labels_is_of_no_use(params) -> None:
    path = Path(params.data.root) / "train.csv"
    path.write_text(path.read_text().replace("v0.png,0", "v0.png,1"))
    with pytest.raises(ManifestError, match="the same file stands under both labels"):
        run(params)


def test_forensic_tables_have_no_columns(params) -> None:
    run(params)
    settings = ForensicParams(data={"root": params.data.root}, images=params.images)
    forensics.run(settings, Path(".resume"))
    for role in ROLES:
        manifest = read_manifest(OUT, role)
        table = read_forensics(forensics.OUT, manifest)
        assert table.names == ()
        assert table.values.shape == (len(manifest), 0)


def test_inputs_ask_for_the_lists_alone(params) -> None:
    facts = describe_inputs(params.data, KnownContents({}))
    assert [set(facts[role]) for role in ROLES] == [{"labels", "bytes", "sha256"}] * 3


def test_there_is_nothing_to_verify(params, caplog) -> None:
    caplog.set_level("INFO")
    verify_data(params, OUT)
    assert "there are no pictures" in caplog.text


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"train": {"labels": None, "images": None}}, "labels and images are both null"),
        ({"train": {"labels": "t.csv", "images": None}}, "images is null in some roles"),
        (LISTS, "backbones: there are no pictures to train on"),
    ],
)
def test_settings_that_need_pictures_are_refused(data, problem) -> None:
    values = {**safe_load(SETTINGS), "data": {"root": "lists", **data}}
    with pytest.raises(ConfigError, match=problem):
        check_all_params(values)
