"""Image files on the disk: which are opened, what a scan tells, and the store of pixels."""

import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import decode_image, draw_noise, encode, make_exif, make_manifest
from PIL import Image

from features.caching.shard_files import ShardFiles
from features.core.files import digest_bytes
from features.core.manifest import Manifest
from features.errors import ImageProblem, ManifestError, StaleArtifactError
from features.pixels import cache, decoding, store
from features.pixels.cache import ImageCache
from features.pixels.decoding import make_square
from features.pixels.kernels import find_kernels
from features.pixels.reading import read_inside
from features.pixels.scanning import scan_file
from features.pixels.store import FileStore, RawStore, open_store
from features.settings.images import NO_LIMITS, Images

NOISE = draw_noise(0, 40, 60)
PNG = encode(NOISE)
SMALL = Images(size=16)


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


@pytest.mark.fault("an empty file", "quarantine", "Pictures")
@pytest.mark.fault(
    "a link that leads out of the data",
    "quarantine; what it leads to is not opened",
    "Pictures",
)
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
def test_what_is_no_image_file_is_a_problem_and_is_not_opened(
    root: Path, name: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    really_open = os.open

    def note(path: str, *options: int) -> int:
        opened.append(Path(path).name)
        return really_open(path, *options)

    monkeypatch.setattr(os, "open", note)
    scan, pixels = scan_file(root, f"pictures/{name}", NO_LIMITS, SMALL)
    assert scan.problem
    assert scan.problem.startswith(problem)
    assert pixels is None
    assert not {"secret.png", "zero", "pipe.jpg"} & set(opened)


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    assert read_inside(root, "pictures/inside.jpg") == PNG


def test_a_link_may_lead_into_a_trusted_folder_and_no_further(root: Path, tmp_path: Path) -> None:
    trusted = (str(tmp_path),)
    assert read_inside(root, "pictures/out.jpg", trusted) == PNG
    assert read_inside(root, "pictures/up/secret.png", trusted) == PNG
    for name in ("pictures/out.jpg", "pictures/up/secret.png"):
        with pytest.raises(ImageProblem, match=r"no folder of data\.trusted"):
            read_inside(root, name, (str(tmp_path / "secret"),))
    with pytest.raises(ImageProblem, match=r"no folder of data\.trusted"):
        read_inside(root, "pictures/device.jpg", trusted)


def test_a_root_that_is_a_link_itself_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_inside(tmp_path / "link", "pictures/good.jpg") == PNG


def test_a_scan_tells_size_and_format_by_content(root: Path) -> None:
    content = encode(NOISE, exif=make_exif(6))
    (root / "pictures/turned.jpg").write_bytes(content)
    scan, pixels = scan_file(root, "pictures/turned.jpg", NO_LIMITS, SMALL)
    assert pixels is not None
    assert pixels.shape == (16, 16, 3)
    assert (scan.problem, scan.format) == ("", "PNG")
    assert (scan.width, scan.height) == (40, 60)
    assert (scan.bytes, scan.sha256) == (len(content), digest_bytes(content))


def test_resizing_is_antialiased_and_leaves_the_right_size_alone() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert make_square(stripes, Images(size=64))[0] is stripes
    small = make_square(stripes, Images(size=16))[0]
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


Stored = tuple[Manifest, Path, Images]
READABLE_ROWS = np.array([4, 0, 1])


def choose(stored: Stored, **changes: object) -> Stored:
    return stored[0], stored[1], stored[2].model_copy(update=changes)


@pytest.mark.parametrize("kind", ["raw", "none"])
def test_the_store_holds_each_row_at_its_place(stored: Stored, kind: str) -> None:
    found = open_store(*choose(stored, store=kind))
    assert isinstance(found, RawStore if kind == "raw" else FileStore)
    assert len(found) == 5
    for pixels, seed in zip(found.gather(READABLE_ROWS), READABLE_ROWS, strict=True):
        wanted = draw_noise(int(seed), 20, 30).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(pixels, np.asarray(wanted, float), atol=1)


@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_becomes_the_pixels_that_pillow_makes(mode: str, options: dict) -> None:
    content = encode(draw_noise(0, 64, 96).convert(mode), "JPEG", quality=85, **options)
    with Image.open(io.BytesIO(content)) as image:
        wanted = np.asarray(image.convert("RGB"))
    found = decode_image(content)[0]
    np.testing.assert_array_equal(found, wanted)
    with Image.fromarray(found[:, :64]) as square:
        halved = square.resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        find_kernels().resize(found[:, :64].copy(), 32, 32), np.asarray(halved)
    )


@pytest.mark.parametrize("equalize", [False, True])
def test_pictures_are_decoded_without_torch_to_the_same_bits(
    tmp_path: Path, equalize: bool
) -> None:
    content = encode(draw_noise(0, 64, 64), "JPEG", quality=85)
    images = Images(size=64, equalize=equalize)
    wanted = decoding.decode_square(bytearray(content), images)
    (tmp_path / "a.jpg").write_bytes(content)
    program = (
        "import sys; import numpy as np\n"
        "from features.pixels.decoding import decode_square\n"
        "from features.pixels.kernels import PLAIN\n"
        "from features.settings.images import Images\n"
        f"images = Images(size=64, equalize={equalize})\n"
        "content = bytearray(open('a.jpg', 'rb').read())\n"
        "np.save('found.npy', decode_square(content, images, PLAIN))\n"
        "assert 'torch' not in sys.modules\n"
    )
    root = Path(decoding.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)


def test_a_row_that_cannot_be_read_has_no_pixels(stored: Stored) -> None:
    with pytest.raises(ValueError, match="no pixels"):
        open_store(*choose(stored, store="raw")).gather(np.array([0, 2]))


@pytest.mark.parametrize("equalize", [False, True])
def test_batches_are_the_same_to_the_bit_with_either_store(tmp_path: Path, equalize: bool) -> None:
    kinds = {"a.jpg": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d.gif": "GIF"}
    for i, (name, kind) in enumerate(kinds.items()):
        (tmp_path / name).write_bytes(encode(draw_noise(i, 50 + i, 70), kind))
    turned = encode(draw_noise(9, 40, 70), "JPEG", exif=make_exif(6))
    grey = encode(draw_noise(8, 40, 70).convert("L"), "JPEG", progressive=True)
    (tmp_path / "e.jpg").write_bytes(turned)
    (tmp_path / "f.jpg").write_bytes(grey)
    names = [*kinds, "e.jpg", "f.jpg"]
    contents = [(tmp_path / name).read_bytes() for name in names]
    manifest = make_manifest(
        "val",
        [0, 1] * 3,
        path=names,
        bytes=[len(content) for content in contents],
        sha256=[digest_bytes(content) for content in contents],
    )
    params = Images(size=24, equalize=equalize, store="raw", store_dir=str(tmp_path / "store"))
    rows = np.array([5, 0, 3, 1, 2, 4, 0])
    raw = open_store(manifest, tmp_path, params).gather(rows)
    fly = open_store(manifest, tmp_path, params.model_copy(update={"store": "none"})).gather(rows)
    np.testing.assert_array_equal(raw, fly)
    assert raw.std() > 10


def test_a_store_is_filled_once_whatever_labels_folds_and_places_are(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root, params = choose(stored, store="raw")
    wanted = open_store(manifest, root, params).gather(READABLE_ROWS)
    monkeypatch.setattr(decoding, "decode_pixels", lambda *_: 1 / 0)
    renamed = root.rename(root.with_name("elsewhere"))
    other = Manifest("train", manifest.table.assign(label=1, fold=3), "other")
    found = open_store(other, renamed, params).gather(READABLE_ROWS)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ZeroDivisionError):
        open_store(manifest, renamed, params.model_copy(update={"size": 32}))


def test_a_manifest_without_rows_has_a_store_without_images(tmp_path: Path) -> None:
    params = Images(size=SIZE, store_dir=str(tmp_path / "store"))
    assert len(open_store(make_manifest("test", []), tmp_path, params)) == 0


@pytest.mark.parametrize(
    ("free", "kind", "told"), [(8192, RawStore, "kept"), (6000, FileStore, "anew at each use")]
)
def test_auto_keeps_pixels_where_they_fit_and_says_why(
    stored: Stored, free: int, kind: type, told: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    with caplog.at_level("INFO", "forgerystack"):
        assert isinstance(open_store(*stored), kind)  # four images take 3,072 bytes
    assert "4 to decode" in caplog.text
    assert told in caplog.text


def test_auto_uses_what_is_there_whatever_the_disk(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(*choose(stored, store="raw"))
    usage = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    assert isinstance(open_store(*stored), RawStore)


@pytest.mark.parametrize("content", [b"shorter", None])
def test_a_file_that_changed_since_prepare_is_stale(stored: Stored, content: bytes | None) -> None:
    path = stored[1] / "train" / "train3.png"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(StaleArtifactError, match=r"train3\.png.*dvc repro -f prepare"):
        open_store(*stored)


def test_files_that_broke_since_prepare_are_named_together(stored: Stored) -> None:
    folder = stored[1] / "train"
    size = (folder / "train3.png").stat().st_size
    (folder / "train3.png").write_bytes(b"x" * size)
    (folder / "train0.png").write_bytes(encode(draw_noise(7, 20, 30)).ljust(10_000, b"\0")[:size])
    table = stored[0].table.assign(bytes=size)
    for row in (1, 4):
        table.loc[row, "bytes"] = (folder / f"train{row}.png").stat().st_size
    with pytest.raises(ManifestError) as error:
        open_store(Manifest("train", table, "x"), *choose(stored, store="raw")[1:])
    assert "train/train3.png: none of the formats" in str(error.value)
    assert "train/train0.png" in str(error.value)


def test_a_file_that_breaks_while_it_is_used_is_named(stored: Stored) -> None:
    found = open_store(*choose(stored, store="none"))
    path = stored[1] / "train" / "train3.png"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ManifestError, match=r"train/train3\.png"):
        found.gather(np.array([0, 3]))


@pytest.mark.fault("a picture replaced by another one of its name since `prepare` ran")
def test_another_sound_picture_of_the_same_size_is_told(stored: Stored) -> None:
    found = open_store(*choose(stored, store="none"))
    path = stored[1] / "train" / "train3.png"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")  # in the checksum of its end: it decodes
    with pytest.raises(ManifestError, match="its content is another one"):
        found.gather(np.array([3]))


@pytest.mark.parametrize("kind", ["raw", "none"])
def test_rows_go_into_memory_that_is_there(stored: Stored, kind: str) -> None:
    found = open_store(*choose(stored, store=kind))
    out = np.full((len(READABLE_ROWS), SIZE, SIZE, 3), 7, np.uint8)
    assert found.gather(READABLE_ROWS, out=out) is out
    np.testing.assert_array_equal(out, found.gather(READABLE_ROWS))


def test_no_rows_are_an_empty_batch(stored: Stored, tmp_path: Path) -> None:
    found = open_store(*choose(stored, store="raw"))
    assert found.gather(np.empty(0, np.int64)).shape == (0, SIZE, SIZE, 3)
    empty = RawStore(ShardFiles(tmp_path, "none"), np.empty(0, np.int64), SIZE)
    assert empty.gather(np.empty(0, np.int64)).shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("kind", ["raw", "none"])
def test_some_rows_are_handed_to_another_process(stored: Stored, kind: str) -> None:
    found = open_store(*choose(stored, store=kind))
    wanted = found.gather(READABLE_ROWS[::-1])
    chosen = found.select(READABLE_ROWS[::-1])
    handed = pickle.dumps(chosen)
    assert len(handed) < 5000  # never the pixels
    for store_there in (chosen, pickle.loads(handed)):
        assert len(store_there) == len(READABLE_ROWS)
        assert store_there.size == wanted.shape[1]
        rows = np.arange(len(READABLE_ROWS))
        np.testing.assert_array_equal(store_there.gather(rows), wanted)


def test_an_error_comes_back_from_another_process_as_it_was(stored: Stored) -> None:
    found = open_store(*choose(stored, store="none"))
    path = stored[1] / "train" / "train3.png"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ManifestError) as error:
        found.gather(np.array([3]))
    back = pickle.loads(pickle.dumps(error.value))
    assert type(back) is ManifestError
    assert (str(back), back.problems) == (str(error.value), error.value.problems)


def test_a_damaged_block_is_decoded_again(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "BLOCK", 2)
    monkeypatch.setattr(store, "BLOCK", 2)
    manifest, root, params = choose(stored, store="raw")
    wanted = open_store(manifest, root, params).gather(READABLE_ROWS)
    path = ImageCache(params).pixels.locate(0).path
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with caplog.at_level("INFO", "forgerystack"):
        found = open_store(manifest, root, params).gather(READABLE_ROWS)
    np.testing.assert_array_equal(found, wanted)
    assert "1 damaged blocks" in caplog.text


def test_a_damaged_index_is_made_again(stored: Stored) -> None:
    manifest, root, params = choose(stored, store="raw")
    wanted = open_store(manifest, root, params).gather(READABLE_ROWS)
    ImageCache(params).index_path.write_bytes(b"no database at all" * 1000)
    np.testing.assert_array_equal(open_store(manifest, root, params).gather(READABLE_ROWS), wanted)


@pytest.mark.parametrize("place", [0, 1])
def test_one_damaged_byte_of_a_known_content_is_noticed(stored: Stored, place: int) -> None:
    """Each content stands twice in the index: with its file, and among the keys."""
    manifest, root, params = choose(stored, store="raw")
    wanted = open_store(manifest, root, params).gather(READABLE_ROWS)
    path = ImageCache(params).index_path
    known = [manifest.table["sha256"][4].encode()] * 2
    before, between, after = path.read_bytes().split(known[0])
    known[place] = b"?" + known[place][1:]
    path.write_bytes(before + known[0] + between + known[1] + after)
    np.testing.assert_array_equal(open_store(manifest, root, params).gather(READABLE_ROWS), wanted)
