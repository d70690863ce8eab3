"""What `prepare` says of what it found."""

import json
from pathlib import Path

import pytest
from made_data import prepare_params, write_table

from features.errors import ManifestError
from features.prepare.run import run
from features.prepare.summary import describe_lost

pytestmark = pytest.mark.usefixtures("one_process")


def lose(data: Path, numbers: range) -> None:
    for i in numbers:
        (data / f"trainset/train{i:02d}.png").unlink()


def test_that_all_lost_images_are_of_one_class_is_said_first(data: Path, tmp_path: Path) -> None:
    lose(data, range(1, 9, 2))
    said = "ll 4 train images that cannot be used are fakes, and no real one is"
    run(prepare_params(data, data={"max_bad_fraction": 0.5}), tmp_path / "out")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["train"]["unreadable by class"] == {"reals": 0, "fakes": 4}
    page = (tmp_path / "out/summary.md").read_text().partition("could not be used\n\n")[2]
    assert page.startswith(f"A{said}")
    with pytest.raises(ManifestError) as caught:
        run(prepare_params(data), tmp_path / "again")
    assert f"\na{said}" in str(caught.value)


def test_lost_images_of_both_classes_and_very_few_are_no_finding() -> None:
    assert not describe_lost("train", 0, 2)
    assert not describe_lost("train", 1, 50)
    assert "7 val images that cannot be used are reals" in describe_lost("val", 7, 0)


def test_how_lists_were_read_stands_in_the_summary(data: Path, tmp_path: Path) -> None:
    rows = [[f"train{i:02d}", float(i % 2)] for i in range(20)]
    write_table(data / "trainset_label.txt", ["img_name", "target"], rows)
    run(prepare_params(data), tmp_path / "out")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    notes = [
        "targets '0.0' read as real: 10",
        "targets '1.0' read as fake: 10",
        "pictures found with another ending, or with none: 20",
    ]
    assert summary["read as"] == {"train": notes, "val": [], "test": []}
    page = (tmp_path / "out/summary.md").read_text()
    assert "## How lists and folders were read\n\n- train: targets '0.0' read as real: 10\n" in page
