"""`presets/own.yaml` as the guide says: a folder of pictures, and the lines that are marked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from project_copy import copy_project

EACH = 30


def draw(folder: Path, seed: int) -> list[str]:
    """`EACH` pictures of noise; their names."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for i in range(EACH):
        pixels = random.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 48)).save(folder / f"{seed}-{i}.png")
    return [f"{seed}-{i}.png" for i in range(EACH)]


def write_list(path: Path, names: list[str]) -> None:
    lines = [f"{name},{int(name.startswith(('1', '3')))}" for name in names]
    path.write_text("\n".join(["img_name,target", *lines]))


def lay_flat(root: Path) -> None:
    draw(root / "real", 0)
    draw(root / "fake", 1)


def lay_by_role(root: Path) -> None:
    for seed, folder in enumerate(("train/real", "train/fake", "val/real", "val/fake")):
        draw(root / folder, seed)


def lay_otherwise(root: Path) -> None:
    draw(root / "authentic", 0)
    draw(root / "forged/gan", 1)
    draw(root / "new", 2)


def lay_lists(root: Path) -> None:
    for role, seeds in (("train", (0, 1)), ("val", (2, 3)), ("test", (4,))):
        names = [name for seed in seeds for name in draw(root / f"{role}set{seed}", seed)]
        (root / f"{role}set").mkdir()
        for path in root.glob(f"{role}set?/*"):
            path.rename(root / f"{role}set" / path.name)
        if role != "test":
            write_list(root / f"{role}set_label.txt", names)
        else:
            text = "\n".join(["img_name", *names])
            (root / "testset_nolabel.txt").write_text(text)


LISTED = "{{labels: {0}set_{1}.txt, images: {0}set}}"


@pytest.mark.parametrize(
    ("lay", "lines", "counts"),
    [
        (lay_flat, "{}", (54, 6, 0)),
        (
            lay_by_role,
            "{train: {labels: null, images: train}, val: {labels: null, images: val}}",
            (60, 60, 0),
        ),
        (
            lay_otherwise,
            "{classes: {real_folders: [authentic], fake_folders: [forged]},"
            " train: {labels: null, images: pictures}, test: {labels: null, images: new}}",
            (54, 6, 30),
        ),
        (
            lay_lists,
            f"{{train: {LISTED.format('train', 'label')}, val: {LISTED.format('val', 'label')},"
            f" test: {LISTED.format('test', 'nolabel')}}}",
            (60, 60, 30),
        ),
    ],
    ids=["real and fake", "by role", "other names", "lists"],
)
def test_a_folder_and_the_lines_that_are_marked_are_enough(tmp_path, lay, lines, counts):
    project = copy_project(tmp_path / "it", "own")
    root = tmp_path / "pictures"
    lay(root)
    if lay is lay_otherwise:  # what is to be labelled lies beside the classes, not among them
        (root / "pictures").mkdir()
        for name in ("authentic", "forged"):
            (root / name).rename(root / "pictures" / name)
    params = project.read_params()
    changed = yaml.safe_load(lines)
    params["data"] |= changed | {"root": str(root)}
    project.write_params(params)
    project.run("python", "-m", "features.prepare")
    tables = [
        pd.read_parquet(project.folder / f"artifacts/manifest/{role}.parquet")
        for role in ("train", "val", "test")
    ]
    assert tuple(map(len, tables)) == counts
    train = tables[0]
    assert {bool(value) for value in train["label"]} == {False, True}


def test_the_lines_to_edit_are_marked():
    text = (Path(__file__).parent.parent / "presets/own.yaml").read_text()
    marked = {line.split(":")[0].strip() for line in text.splitlines() if "# <-" in line}
    assert marked == {"root", "train", "val", "test"}
