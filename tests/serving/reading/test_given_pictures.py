"""Pictures as people have them: the scores of their files, whatever Pillow or numpy does to them
meanwhile; and those that are too large."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from features.errors import ImageProblem
from serving import Ensemble
from serving.ensemble.ensemble import HELD
from serving.reading.archives import TarSource
from serving.reading.pictures import GivenPicture, read_file

LARGE = 3 << 30


def draw(seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(small).resize((96, 64))


def list_scores(ensemble: Ensemble, *pictures: object) -> list[float]:
    return [round(row.score, 9) for row in ensemble.label(pictures)]  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_an_opened_picture_stands_as_its_file_does(
    ensemble: Ensemble, tmp_path: Path, ending: str, orientation: int
) -> None:
    (exif := Image.Exif())[0x0112] = orientation
    draw().save(path := tmp_path / f"a.{ending}", exif=exif)
    with Image.open(path) as image:
        one, two = list_scores(ensemble, path, image)
    assert one == two


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "RGBA", "CMYK", "I"])
def test_an_opened_picture_of_any_mode_has_the_score_of_its_file(
    ensemble: Ensemble, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "a.tif"
    if mode.startswith("I"):
        deep = np.asarray(draw().convert("L")).astype(np.uint16 if ";" in mode else np.int32)
        Image.fromarray(deep * 257).save(path)
    else:
        draw().convert(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        one, two = list_scores(ensemble, path, image)
    assert one == two


@pytest.mark.parametrize("mode", ["HSV", "RGBa", "La", "LAB", "YCbCr", "RGBX"])
def test_a_picture_of_a_mode_that_no_file_has_is_labelled(ensemble: Ensemble, mode: str) -> None:
    (row,) = ensemble.label([Image.new(mode, (32, 32))])
    assert row.status == "ok"


def test_an_opened_picture_that_cannot_be_decoded_keeps_its_row(
    ensemble: Ensemble, tmp_path: Path
) -> None:
    draw().save(path := tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:700])
    floats = Image.new("F", (32, 32))
    with Image.open(path) as image:
        found = [row.status for row in ensemble.label([image, floats, draw()])]
    assert found[0].startswith("does not decode: image file is truncated")
    assert found[1:] == ["pixels of floating point, which have no fixed range", "ok"]


def test_pictures_may_change_once_they_were_given(ensemble: Ensemble, tmp_path: Path) -> None:
    frames = [draw(seed) for seed in range(4)]
    frames[0].save(path := tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        apart = list_scores(ensemble, *[frame.copy() for frame in ImageSequence.Iterator(image)])
        found = [round(row.score, 9) for row in ensemble.label(ImageSequence.Iterator(image))]
    assert found == apart
    assert len(set(found)) == 4

    def reuse() -> Iterator[np.ndarray]:
        buffer = np.empty((64, 96, 3), np.uint8)
        for frame in frames:
            buffer[:] = np.asarray(frame)
            yield buffer

    apart = list_scores(ensemble, *map(np.asarray, frames))
    assert [round(row.score, 9) for row in ensemble.label(reuse())] == apart


@pytest.mark.parametrize(
    "picture",
    ["a.jpg", Path("a.jpg"), b"x", bytearray(b"x"), np.zeros((9, 9, 3), np.uint8), draw()],
    ids=lambda picture: type(picture).__name__,
)
def test_one_picture_in_place_of_several_is_refused(ensemble: Ensemble, picture: object) -> None:
    for ask in (ensemble.label, ensemble.predict_proba):
        with pytest.raises(TypeError, match=r"not several pictures: write \[picture\]"):
            ask(picture)  # type: ignore[operator]


def test_of_several_pictures_an_array_may_be_made(ensemble: Ensemble) -> None:
    pictures = np.stack([np.asarray(draw(seed)) for seed in range(3)])
    assert list_scores(ensemble, *pictures) == [
        round(row.score, 9) for row in ensemble.label(pictures)
    ]


# --- memory


def test_a_file_of_more_bytes_than_a_picture_has_is_not_read(
    ensemble: Ensemble, tmp_path: Path
) -> None:
    (path := tmp_path / "a.png").touch()
    os.truncate(path, LARGE)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        header = tarfile.TarInfo("a.png")
        header.size = LARGE
        content = io.BytesIO()
        draw().save(content, "PNG")
        archive.fileobj.write(header.tobuf())  # type: ignore[union-attr]
        archive.fileobj.seek(LARGE, os.SEEK_CUR)  # type: ignore[union-attr]
        archive.offset += tarfile.BLOCKSIZE + LARGE
        header = tarfile.TarInfo("b.png")
        header.size = len(content.getvalue())
        archive.addfile(header, io.BytesIO(content.getvalue()))
    (row,) = ensemble.label([path])
    rows = list(ensemble.stream(TarSource(tmp_path / "a.tar", "").open()))
    assert row.status == "a file of 3.0 GiB, above 1 GiB"
    assert [own.status for own in rows] == [row.status, "ok"]


def test_a_file_that_memory_does_not_suffice_for_keeps_its_row(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw().save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")

    def refuse(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(tarfile.ExFileObject, "read", refuse)
    (row,) = ensemble.stream(TarSource(tmp_path / "a.tar", "").open())
    assert row.status == "no memory for a file of 0 MB"


def test_of_large_pictures_few_are_in_memory(ensemble: Ensemble) -> None:
    pixels, given = np.asarray(draw()), []

    def give() -> Iterator[GivenPicture]:
        for i in range(99):
            given.append(i)
            yield GivenPicture(str(i), lambda: pixels, held=HELD // 2)

    rows = ensemble.stream(give(), workers=1)
    next(rows)
    assert len(given) <= 10
    assert sum(1 for _ in rows) == 98


def test_what_is_no_file_has_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for place, problem in [
        (tmp_path, "a folder, no file"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "empty", "empty file"),
        ("nul\0", "no name of a file"),
    ]:
        with pytest.raises(ImageProblem, match=problem):
            read_file(place)
