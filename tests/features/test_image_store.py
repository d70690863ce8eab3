"""Image files on the disk: which are opened, what a scan tells, and the store of pixels."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_data import draw_noise, encode, make_exif, make_manifest
from PIL import Image

from features import images
from features.errors import ManifestError, StaleArtifactError
from features.files import digest_bytes
from features.images import open_store, read_inside, resize_square, scan_file, scan_files
from features.images_params import Images
from features.manifest import Manifest

NOISE = draw_noise(0, 40, 60)
PNG = encode(NOISE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Good and odd files below `root/pictures`, and a secret beside it."""
    folder = tmp_path / "root" / "pictures"
    folder.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "good.jpg").write_bytes(PNG)
    (folder / "empty.jpg").touch()
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "inside.jpg").symlink_to("good.jpg")
    return tmp_path / "root"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nothing.jpg", "missing"),
        ("empty.jpg", "empty file"),
        ("folder.jpg", "no regular file"),
        ("pipe.jpg", "no regular file"),
        ("good.jpg/x.jpg", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("out.jpg", "a link leads outside the data root"),
        ("up/secret.png", "a link leads outside the data root"),
        ("../../secret.png", "a link leads outside the data root"),
        ("device.jpg", "a link leads outside the data root"),
        ("loop.jpg", ""),
    ],
)
def test_row_2_14_15_16_what_is_no_image_file_is_a_problem_and_is_not_opened(
    root: Path, name: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read_bytes = Path.read_bytes

    def note(path: Path) -> bytes:
        opened.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    scan = scan_file(root, f"pictures/{name}", 10_000)
    assert scan.problem
    assert scan.problem.startswith(problem)
    assert not {"secret.png", "zero", "pipe.jpg"} & set(opened)


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    assert read_inside(root, "pictures/inside.jpg") == PNG


def test_a_root_that_is_a_link_itself_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_inside(tmp_path / "link", "pictures/good.jpg") == PNG


def test_a_scan_tells_size_and_format_by_content(root: Path) -> None:
    content = encode(NOISE, exif=make_exif(6))
    (root / "pictures/turned.jpg").write_bytes(content)
    scan = scan_file(root, "pictures/turned.jpg", 10_000)
    assert (scan.problem, scan.format) == ("", "PNG")
    assert (scan.width, scan.height) == (40, 60)
    assert (scan.bytes, scan.sha256) == (len(content), digest_bytes(content))


@pytest.mark.usefixtures("one_process")
def test_scans_come_in_the_order_of_their_paths(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BLOCK", 2)
    paths = [f"pictures/{name}.jpg" for name in ("good", "empty", "nothing", "good", "folder")]
    found = [scan.problem for scan in scan_files(root, paths, 10_000, "scan")]
    assert found == ["", "empty file", "missing", "", "no regular file"]


def test_resizing_is_antialiased_and_leaves_the_right_size_alone() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert resize_square(stripes, 64) is stripes
    small = resize_square(stripes, 16)
    assert small.shape == (16, 16, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 128).max() < 10


SIZE = 16


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Manifest, Path, Images]:
    """A manifest of five pictures, of which row 2 cannot be read."""
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    contents = [encode(draw_noise(i, 20, 30)) for i in range(5)]
    for i, content in enumerate(contents):
        (root / "train" / f"train{i}.png").write_bytes(content)
    manifest = make_manifest(
        "train",
        [0, 1, 0, 1, 0],
        bytes=[len(content) for content in contents],
        sha256=[digest_bytes(content) for content in contents],
        status=["ok", "ok", "does not decode", "ok", "ok"],
    )
    return manifest, root, Images(size=SIZE, store_dir=str(tmp_path / "store"))


@pytest.mark.usefixtures("one_process")
def test_the_store_holds_each_row_at_its_place(
    stored: tuple[Manifest, Path, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BLOCK", 2)
    store = open_store(*stored)
    assert len(store) == 5
    found = store.gather(np.array([4, 0, 2]))
    for pixels, seed in ((found[0], 4), (found[1], 0)):
        wanted = draw_noise(seed, 20, 30).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(pixels, np.asarray(wanted))
    assert not found[2].any()


@pytest.mark.usefixtures("one_process")
def test_a_store_is_filled_once_whatever_labels_and_folds_are(
    stored: tuple[Manifest, Path, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root, params = stored
    first = open_store(manifest, root, params)
    monkeypatch.setattr(images, "decode_image", lambda *_: 1 / 0)
    other = Manifest("train", manifest.table.assign(label=1, fold=3), "other")
    assert open_store(other, root, params).path == first.path
    with pytest.raises(ZeroDivisionError):
        open_store(manifest, root, params.model_copy(update={"size": 32}))
    changed = manifest.table.assign(sha256="0" * 64)
    with pytest.raises(ZeroDivisionError):
        open_store(Manifest("train", changed, "x"), root, params)


@pytest.mark.usefixtures("one_process")
def test_a_manifest_without_rows_has_a_store_without_images(tmp_path: Path) -> None:
    params = Images(size=SIZE, store_dir=str(tmp_path / "store"))
    assert len(open_store(make_manifest("test", []), tmp_path, params)) == 0


@pytest.mark.parametrize("content", [b"shorter", None])
def test_a_file_that_changed_since_prepare_is_stale(
    stored: tuple[Manifest, Path, Images], content: bytes | None
) -> None:
    path = stored[1] / "train" / "train3.png"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(StaleArtifactError, match=r"train3\.png.*dvc repro -f prepare"):
        open_store(*stored)


@pytest.mark.usefixtures("one_process")
def test_a_file_that_broke_since_prepare_is_named_and_leaves_no_store(
    stored: tuple[Manifest, Path, Images],
) -> None:
    path = stored[1] / "train" / "train3.png"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ManifestError, match=r"train/train3\.png"):
        open_store(*stored)
    assert not list(Path(stored[2].store_dir).rglob("*.npy*"))
