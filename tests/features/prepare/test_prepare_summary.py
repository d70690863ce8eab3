"""What `prepare` says of what it found."""

import json
from collections.abc import Callable
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


def list_noticed(root: Path, name_group: Callable[[int], object], rows: int = 400) -> str:
    """What `prepare` notices in a list of `rows`, groups as named, of which it carves out val."""
    cells = [[f"{i}.png", i % 2, name_group(i)] for i in range(rows)]
    write_table(root / "list.txt", ["img_name", "target", "tile"], cells)
    files = {"train": {"labels": "list.txt", "images": None}, "val": None, "test": None}
    params = prepare_params(root, data=files | {"group_columns": ["tile"]})
    run(params, root / "out")
    return (root / "out/summary.md").read_text().partition("## Noticed\n\n")[2]


def test_one_group_that_holds_much_of_a_role_is_noticed(tmp_path: Path) -> None:
    said = "- train: one group holds 60 of "
    assert said in list_noticed(tmp_path, lambda i: i // 60 if i < 120 else f"pair {i // 2}")
    assert list_noticed(tmp_path, lambda i: i // 20) == "Nothing.\n"
    alike = list_noticed(tmp_path, lambda i: i // 50)  # eight of all, none unlike the others
    assert "one group holds" not in alike
    assert list_noticed(tmp_path, lambda i: "NA" if i < 120 else i // 2) == "Nothing.\n"
    assert list_noticed(tmp_path, lambda i: i // 8, rows=40) == "Nothing.\n"


def test_more_val_than_was_asked_for_is_noticed(tmp_path: Path) -> None:
    said = list_noticed(tmp_path, lambda i: i // 100)
    assert "- val: 100 of 400 rows were carved out, where split.val_fraction (0.1) asks" in said
    assert "for 40: its largest group has 100\n" in said
