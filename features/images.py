"""Image files into pixels: one safe decoder, and a memory-mapped store of decoded images."""

import io
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from joblib import Parallel, delayed
from PIL import Image, ImageOps, UnidentifiedImageError

from features.errors import ManifestError, StaleArtifactError
from features.files import digest_bytes, digest_json, write_atomic
from features.images_params import Images
from features.manifest import READABLE, Ids, Manifest
from features.progress import track

Pixels = npt.NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Decoders that a file may reach; else a PostScript file named .jpg would start Ghostscript."""
MAX_PIXELS = 178_956_970
"""Above it Pillow itself refuses; for files that `prepare` has let through."""
BLOCK = 256
SAMPLED = 1000


@dataclass(frozen=True)
class Scan:
    """What `prepare` learns about one file. `problem` is empty if it decodes."""

    problem: str
    width: int = 0
    height: int = 0
    bytes: int = 0
    format: str = ""
    sha256: str = ""


class ImageProblem(Exception):
    """Why one image cannot be used; its text goes to the quarantine list."""


def read_inside(root: Path, path: str) -> bytes:
    """The file's content; raises `ImageProblem` for what is no regular file inside `root`."""
    try:
        full = (root / path).resolve()
    except RuntimeError:  # up to Python 3.12
        raise ImageProblem("a link leads to itself") from None
    if not full.is_relative_to(root.resolve()):
        raise ImageProblem("a link leads outside the data root")
    try:
        if not stat.S_ISREG(full.stat().st_mode):
            raise ImageProblem("no regular file")
        content = full.read_bytes()
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error
    if not content:
        raise ImageProblem("empty file")
    return content


def decode_image(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Pixels, str]:
    """`(height, width, 3)` RGB pixels and the format, by content and not by name.

    Decodes fully (`verify` misses truncated files), first frame, EXIF rotation applied,
    transparency on white, 16 bit scaled to 8. Raises `ImageProblem`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise ImageProblem(f"{image.width} x {image.height} pixels, above max_pixels")
                name = image.format or ""
                image.load()
                return np.asarray(_convert_to_rgb(_rotate_upright(image))), name
    except (ImageProblem, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageProblem(f"none of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ImageProblem("far more pixels than max_pixels") from None
    except Exception as error:  # decoders raise anything: TypeError for a TIFF of odd tags
        raise ImageProblem(f"does not decode: {error}") from None


def _rotate_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block raises anything; the pixels are sound
        return image


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.float64)
        # Pillow clips 16 bit at 255 (a picture turns white), so scale by 1/257 first.
        return Image.fromarray(np.rint(np.clip(wide / 257, 0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def scan_file(root: Path, path: str, max_pixels: int) -> Scan:
    """Reads and fully decodes one file."""
    try:
        content = read_inside(root, path)
        pixels, name = decode_image(content, max_pixels)
    except ImageProblem as problem:
        return Scan(str(problem))
    height, width = pixels.shape[:2]
    return Scan("", width, height, len(content), name, digest_bytes(content))


def _scan_block(root: Path, paths: Sequence[str], max_pixels: int) -> list[Scan]:
    return [scan_file(root, path, max_pixels) for path in paths]


def scan_files(root: Path, paths: Sequence[str], max_pixels: int, title: str) -> list[Scan]:
    """Scans many files in parallel processes, in the order of `paths`."""
    blocks = [paths[i : i + BLOCK] for i in range(0, len(paths), BLOCK)]
    work = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_scan_block)(root, block, max_pixels) for block in blocks
    )
    return [scan for block in track(work, title, len(blocks)) for scan in block]


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """`(h, w, 3)` to `(size, size, 3)`, bilinear and antialiased (Pillow), as training would."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


class ImageStore:
    """Decoded images of one role, memory-mapped: uint8 `(n, size, size, 3)` by `row_id`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pixels: Pixels = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._pixels)

    def gather(self, row_ids: Ids) -> Pixels:
        """`(b, size, size, 3)` uint8, a copy, in the order of `row_ids`."""
        return np.asarray(self._pixels[row_ids])


def open_store(manifest: Manifest, root: Path, images: Images) -> ImageStore:
    """The store of this manifest's images; decodes them first where they are not there yet.

    The store is a cache: its key is made of paths, contents and size, not of labels or folds.
    Raises `StaleArtifactError` where a sample of the files is not what the manifest says.
    """
    check_sample(manifest, root)
    table = manifest.table
    listed = "\n".join(table["path"] + " " + table["sha256"])
    key = digest_json([digest_bytes(listed.encode()), images.size, "bilinear-antialias"])
    path = Path(images.store_dir) / key[:32] / "images.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            _fill_store(manifest, root, images.size, path)
    return ImageStore(path)


def _fill_store(manifest: Manifest, root: Path, size: int, path: Path) -> None:
    readable = manifest.table[manifest.table["status"] == READABLE]
    shape = (len(manifest), size, size, 3)
    with write_atomic(path) as temporary:
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for rows, block in _decode_blocks(
            list(readable["row_id"]), list(readable["path"]), root, size
        ):
            pixels[rows] = block
        pixels.flush()
        del pixels


def _decode_blocks(
    rows: Sequence[int], paths: Sequence[str], root: Path, size: int
) -> Iterator[tuple[Ids, Pixels]]:
    ids, names = np.asarray(rows, dtype=np.int64), list(paths)
    starts = range(0, len(ids), BLOCK)
    work = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_decode_block)(root, names[i : i + BLOCK], size) for i in starts
    )
    for start, block in zip(starts, track(work, "decode", len(starts)), strict=True):
        yield ids[start : start + BLOCK], block


def _decode_block(root: Path, paths: Sequence[str], size: int) -> Pixels:
    block = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(paths):
        try:
            pixels, _ = decode_image(read_inside(root, path))
        except ImageProblem as problem:
            advice = "The file was readable when `prepare` ran. Run: dvc repro -f prepare"
            raise ManifestError(path, [str(problem)], advice) from None
        block[i] = resize_square(pixels, size)
    return block


def check_sample(manifest: Manifest, root: Path) -> None:
    """Raises `StaleArtifactError` if the size of one of 1,000 seeded files has changed."""
    known = manifest.table[manifest.table["status"] == READABLE]
    sample = known.sample(min(SAMPLED, len(known)), random_state=0)
    for path, size in zip(sample["path"], sample["bytes"], strict=True):
        try:
            found = (root / path).stat().st_size
        except OSError:
            found = -1
        if found != size:
            seen = "a missing file" if found < 0 else f"a file of {found} bytes"
            text = f"{root / path}: the manifest"
            raise StaleArtifactError(text, f"a file of {size} bytes", seen, "-f prepare")
