"""Spoiled pictures of every format: a reason in plain words, or a picture; no crash, no hang."""

import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_data import draw_noise, encode, make_exif
from mutations import COUNT, list_mutations
from PIL import Image

from features.pixels.scanning import scan_file
from features.settings.images import FORMATS, Images, Limits

FEW = 40
SECONDS = 5.0
"""One file may take so long, on a busy machine."""
MEGABYTES = 400
"""All files of a format together may add so much to the peak of memory."""
LIMITS = Limits(max_pixels=1_000_000)
SOURCE = re.compile(r"/|0x[0-9a-f]|Error\b|object at|\n|<\w")


def list_pictures(kind: str) -> Iterator[bytes]:
    """Small sound files that use what the format has."""
    noise, smooth = draw_noise(0, 32, 24), Image.linear_gradient("L").resize((24, 32))
    frames = [draw_noise(i, 32, 24) for i in range(1, 3)]
    yield encode(noise, kind)
    yield encode(smooth, kind)
    if kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        yield encode(smooth.convert("RGB"), kind, exif=make_exif(6))
    if kind in ("PNG", "WEBP", "GIF", "AVIF", "TIFF"):
        yield encode(noise, kind, save_all=True, append_images=frames)
    if kind == "JPEG":
        yield encode(noise, kind, progressive=True)
        yield encode(noise.convert("CMYK"), kind)
        yield encode(noise, "MPO", save_all=True, append_images=frames)
    if kind in ("PNG", "TIFF", "JPEG2000"):
        yield encode(Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60), kind)
    if kind in ("PNG", "WEBP", "AVIF", "JPEG2000"):
        yield encode(noise.convert("RGBA"), kind)
    if kind in ("PNG", "GIF", "BMP"):
        yield encode(noise.convert("P"), kind)
    if kind == "TIFF":
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
            yield encode(noise, kind, compression=compression)
        yield encode(Image.fromarray(np.arange(1024, dtype=np.int32).reshape(32, 32)), kind)


@pytest.mark.fault(
    "flipped, cut, inserted, zeroed and repeated parts of pictures and label files; extreme "
    "numbers in headers",
    "quarantine, or an error that names the file; `make fuzz` tries 10,000 of each kind",
    "Pictures",
)
@pytest.mark.filterwarnings("ignore")  # of Pillow, which name no file
@pytest.mark.timeout(7200 if COUNT else 120)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_spoiled_picture_is_told_in_plain_words(tmp_path: Path, kind: str) -> None:
    sources = list(list_pictures(kind))
    reasons: Counter[str] = Counter()
    images, slowest = Images(size=16, store_dir=str(tmp_path)), 0.0
    (tmp_path / "a").write_bytes(encode(draw_noise(0, 32, 24), "JPEG"))
    scan_file(tmp_path, "a", LIMITS, images)  # loads torch
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for source in sources:
        for content in list_mutations(source, -(-(COUNT or FEW) // len(sources))):
            (tmp_path / "a").write_bytes(content)  # stays there if the process dies
            begun = time.perf_counter()
            scan, square = scan_file(tmp_path, "a", LIMITS, images)
            slowest = max(slowest, time.perf_counter() - begun)
            assert (square is None) == bool(scan.problem)
            assert not SOURCE.search(scan.problem), scan.problem
            reasons[re.sub(r"\d+", "N", scan.problem) or "a picture"] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    seconds = time.perf_counter() - started
    print(f"\n{kind}: {reasons.total()} files in {seconds:.0f} s, slowest {slowest:.2f} s, "
          f"memory {grown:+} MB")  # fmt: skip
    for reason, count in reasons.most_common():
        print(f"{count:7} {reason}")
    assert slowest < SECONDS
    assert grown < MEGABYTES
