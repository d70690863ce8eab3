"""One image file into pixels and facts: what is opened, what is decoded how, what is refused."""

import functools
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import get_sampling

from features.settings.images import FORMATS, NO_LIMITS, Images, Limits

# Odd palettes and EXIF blocks are noted in the manifest; Pillow's warnings name no file.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Without it `_load_decoder` takes Pillow's, which gives the same pixels.
warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision")

Pixels = npt.NDArray[np.uint8]
EQUALIZED = {"format": "JPEG", "quality": 90, "subsampling": 2}
"""How `images.equalize` saves every image: as most cameras and web sites do."""
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Scan:
    """What is known about one file. `problem` is empty if it decodes; see `Manifest` for units."""

    problem: str
    width: int = 0
    height: int = 0
    bytes: int = 0
    format: str = ""
    mode: str = ""
    exif: bool = False
    subsampling: int = -1
    quant_tables: str = ""
    quant_mean: float = 0.0
    equalized_bytes: int = 0
    notes: str = ""
    sha256: str = ""


class ImageProblem(Exception):
    """Why one image cannot be used; its text goes to the quarantine list."""


def read_inside(root: Path, path: str) -> bytearray:
    """The file's content; raises `ImageProblem` for what is no regular file inside `root`.

    Links are followed as long as they stay inside; nothing else than a regular file is opened.
    """
    folder, name = os.path.split(path)
    try:
        place = os.path.join(_resolve_folder(root, folder), name)
        if stat.S_ISLNK(os.lstat(place).st_mode):
            place = _resolve_inside(root, path)
        if not stat.S_ISREG(os.lstat(place).st_mode):
            raise ImageProblem("no regular file")
        # Both flags matter only if somebody swaps the file right now.
        with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            content = bytearray(os.fstat(file.fileno()).st_size)
            size = file.readinto(content)
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error
    if not content:
        raise ImageProblem("empty file")
    if size != len(content):
        raise ImageProblem("it changed while it was read")
    return content


@functools.lru_cache(maxsize=4096)  # half a million files lie in a few folders
def _resolve_folder(root: Path, folder: str) -> str:
    return _resolve_inside(root, folder)


def _resolve_inside(root: Path, path: str) -> str:
    try:
        full = (root / path).resolve()
    except RuntimeError:  # up to Python 3.12
        raise ImageProblem("a link leads to itself") from None
    if not full.is_relative_to(root.resolve()):
        raise ImageProblem("a link leads outside the data root")
    return str(full)


def scan_file(root: Path, path: str, limits: Limits, images: Images) -> tuple[Scan, Pixels | None]:
    """Reads, checks and fully decodes one file: what is known, and its square of pixels."""
    try:
        content = read_inside(root, path)
        header = open_image(content, limits)
        facts = describe_image(header, path)
        pixels = decode_pixels(content, header)
        square, equalized = make_square(pixels, images)
    except ImageProblem as problem:
        return Scan(str(problem)), None
    height, width = pixels.shape[:2]
    sha256 = hashlib.sha256(content).hexdigest()
    scan = Scan("", width, height, len(content), **facts, equalized_bytes=equalized, sha256=sha256)
    return scan, square


def decode_square(content: bytearray, images: Images) -> Pixels:
    """`(size, size, 3)`, the same to the bit wherever it is decoded. Raises `ImageProblem`."""
    return make_square(decode_pixels(content, open_image(content, NO_LIMITS)), images)[0]


def open_image(content: bytes | bytearray, limits: Limits) -> Image.Image:
    """The header, read by content and not by name; raises `ImageProblem` before any decoding.

    A decoder outside `limits.formats` is never reached: a PostScript file named .jpg would start
    Ghostscript.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageProblem(f"none of the formats {', '.join(limits.formats)}") from None
    except Image.DecompressionBombError:
        raise ImageProblem(f"more pixels than max_pixels {limits.max_pixels}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything: TypeError for a TIFF of odd tags
        raise ImageProblem(f"does not decode: {error}") from None
    if problem := limits.find_problem(name_format(image), *image.size):
        raise ImageProblem(problem)
    return image


def name_format(image: Image.Image) -> str:
    """The format by content; a JPEG with further pictures in it (MPO) is a JPEG."""
    return "JPEG" if image.format == "MPO" else image.format or ""


def describe_image(image: Image.Image, path: str) -> dict[str, Any]:
    """Facts of the file that are not the picture, from its header. Keys are fields of `Scan`."""
    name = name_format(image)
    tables = getattr(image, "quantization", None) or {}
    digest, mean = _sum_up_tables(tuple(tuple(table) for _, table in sorted(tables.items())))
    return {
        "format": name,
        "mode": image.mode,
        "exif": "exif" in image.info,
        "subsampling": get_sampling(image) if name == "JPEG" else -1,
        "quant_tables": digest,
        "quant_mean": mean,
        "notes": ";".join(_list_notes(image, name, path)),
    }


@functools.lru_cache(maxsize=1024)  # most files of a set share a few qualities
def _sum_up_tables(tables: tuple[tuple[int, ...], ...]) -> tuple[str, float]:
    """A short digest of all quantisation tables, and the mean of the first one."""
    if not tables:
        return "", 0.0
    listed = repr([list(table) for table in tables])
    return hashlib.sha256(listed.encode()).hexdigest()[:8], float(np.mean(tables[0]))


def _list_notes(image: Image.Image, name: str, path: str) -> list[str]:
    orientation = read_orientation(image)
    known = _list_extensions().get(os.path.splitext(path)[1].lower(), name)
    noted = {
        "animated": image.format != "MPO" and bool(getattr(image, "is_animated", False)),
        "transparent": image.has_transparency_data,
        "16 bit": image.mode.startswith("I"),
        "rotated": orientation not in (None, 1),
        "broken EXIF": orientation is None,
        "misnamed": known not in (name, "MPO"),
    }
    return [note for note, is_so in noted.items() if is_so]


@functools.cache
def _list_extensions() -> dict[str, str]:
    return Image.registered_extensions()


def read_orientation(image: Image.Image) -> int | None:
    """The EXIF orientation 1 … 8 (1 without such a block), `None` if the block is broken."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken block raises anything; the pixels are sound
        return None
    return int(found) if found in range(1, 9) else 1


def decode_pixels(content: bytearray, image: Image.Image) -> Pixels:
    """`(height, width, 3)`: first frame, upright, transparency on white, 16 bit scaled to 8.

    Decodes fully (`verify` misses truncated files). Plain JPEGs go through torchvision, which
    gives Pillow's pixels to the bit and hands them to the resizing without a copy.
    """
    try:
        if name_format(image) == "JPEG" and image.mode in ("RGB", "L") and _is_upright(image):
            return _decode_jpeg(content)
        image.load()
        return np.asarray(_convert_to_rgb(_rotate_upright(image)))
    except (ImageProblem, MemoryError):
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageProblem(f"does not decode: {reason}") from None


def _is_upright(image: Image.Image) -> bool:
    return read_orientation(image) in (None, 1)


def _decode_jpeg(content: bytearray) -> Pixels:
    import torch

    decode = _load_decoder()
    if decode is None:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            return np.array(image.convert("RGB"))
    try:
        planes = decode(torch.frombuffer(content, dtype=torch.uint8))
    except RuntimeError as error:
        # "decode_jpeg, <file>:<line>: <reason>"
        reason = str(error).splitlines()[0].rsplit(": ", 1)[-1]
        raise ImageProblem(f"does not decode: {reason}") from None
    pixels: Pixels = planes.permute(1, 2, 0).numpy()
    return pixels


@functools.cache
def _load_decoder() -> Callable[[Any], Any] | None:
    """torchvision's JPEG decoder, 1.1 times as fast as Pillow's; `None` once it is removed."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        return None
    return functools.partial(decode_jpeg, mode=ImageReadMode.RGB)


def _rotate_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as in `read_orientation`
        return image


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageProblem("pixels of floating point, which have no fixed range")
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.float64)
        # Pillow clips 16 bit at 255 (a picture turns white), so scale by 1/257 first.
        return Image.fromarray(np.rint(np.clip(wide / 257, 0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def make_square(pixels: Pixels, images: Images) -> tuple[Pixels, int]:
    """`(h, w, 3)` as the networks see it, `(size, size, 3)`, and the bytes of the equalised file.

    With `images.equalize` the square is saved as every other one is, and decoded again.
    """
    square = resize_square(pixels, images.size)
    if not images.equalize:
        return square, 0
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, **EQUALIZED)  # type: ignore[arg-type]
    content = bytearray(buffer.getvalue())
    return _decode_jpeg(content), len(content)


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """`(h, w, 3)` to `(size, size, 3)`, bilinear and antialiased, as training would.

    torch's kernel for uint8 takes a quarter of Pillow's time and gives its pixels: to the bit at
    whole ratios such as 512 to 256, else within one grey level.
    """
    import torch
    from torch.nn.functional import interpolate

    if pixels.shape[:2] == (size, size):
        return pixels
    planes = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    # Permuting after adding the batch axis keeps the strides of channels_last, the fast path.
    planes = planes[None].permute(0, 3, 1, 2)
    small = interpolate(planes, (size, size), mode="bilinear", antialias=True)
    square: Pixels = small[0].permute(1, 2, 0).numpy()
    return square
