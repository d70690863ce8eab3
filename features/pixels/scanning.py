"""A block of image files into facts, thumbnails and pixels: the work of one thread or process."""

import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.caching.shard_files import Spot
from features.core.files import digest_bytes
from features.errors import ImageProblem
from features.pixels.decoding import Pixels, decode_picture, make_square
from features.pixels.facts import Scan, describe_image
from features.pixels.kernels import settle_kernels
from features.pixels.reading import (
    digest_part,
    hash_file,
    measure_file,
    open_inside,
    read_inside,
    read_state,
)
from features.pixels.thumbnails import SIDE, hash_thumbnails, shrink_grey, shrink_thumbnails
from features.settings.images import Images, Limits
from features.videos.addresses import Address, cut_box, parse_address
from features.videos.frames import Frame, is_video, list_times, read_frames


@dataclass(frozen=True)
class ScannedBlock:
    """What a worker found; thumbnails and pixels are on the disk by then."""

    start: int
    scans: list[Scan]
    mtimes: list[int]
    hashes: Pixels
    thumbnails_checksum: int
    pixels_checksum: int | None
    """`None` where pixels are not kept."""


def scan_file(
    root: Path, path: str, limits: Limits, images: Images, trusted: tuple[str, ...] = ()
) -> tuple[Scan, Pixels | None]:
    """Reads, checks and fully decodes one image file: what is known, and the square of pixels of
    what `path`, an address, says of it."""
    address = parse_address(path)
    try:
        content = read_inside(root, address.file, trusted)
        picture = decode_picture(content, limits, images, box=address.box)
        facts = describe_image(picture.header, address.file, picture.notes)
    except ImageProblem as problem:
        return Scan(str(problem)), None
    scan = Scan(
        problem="",
        width=picture.width,
        height=picture.height,
        bytes=len(content),
        equalized_bytes=picture.equalized_bytes,
        sha256=digest_part(digest_bytes(content), address),
        **facts,
    )
    return scan, picture.square


def scan_video(
    root: Path, parts: list[Address], limits: Limits, images: Images, trusted: tuple[str, ...] = ()
) -> list[tuple[Scan, Pixels | None]]:
    """As `scan_file`, for frames of one video, and parts of them, in the order of their times.

    A video as a whole is no picture: there is one where `list_times` found a problem. If one frame
    cannot be read, none is used.
    """
    found: list[tuple[Scan, Pixels | None]] = []
    try:
        with open_inside(root, parts[0].file, trusted) as file:
            times = list(dict.fromkeys(part.time for part in parts if part.time is not None))
            if any(part.time is None for part in parts):
                list_times(file, limits)
                raise ImageProblem("a video that was read as one picture")
            size, sha256 = measure_file(file), hash_file(file)
            by_time = itertools.groupby(parts, lambda part: part.time)
            for (_, same), frame in zip(by_time, read_frames(file, times, limits), strict=True):
                for part in same:
                    known = (size, digest_part(sha256, part))
                    found.append(_describe_frame(frame, part, *known, images))
    except ImageProblem as problem:
        return [(Scan(str(problem)), None)] * len(parts)
    return found


def _describe_frame(
    frame: Frame, part: Address, size: int, sha256: str, images: Images
) -> tuple[Scan, Pixels]:
    pixels = cut_box(frame.pixels, part.box)
    square, equalized_bytes = make_square(pixels, images)
    scan = Scan(
        problem="",
        width=pixels.shape[1],
        height=pixels.shape[0],
        bytes=size,
        format=frame.codec,
        mode=frame.layout,
        equalized_bytes=equalized_bytes,
        notes="rotated" if frame.is_turned else "",
        sha256=sha256,
    )
    return scan, square


def _scan_all(
    root: Path, paths: Sequence[str], limits: Limits, images: Images, trusted: tuple[str, ...]
) -> Iterator[tuple[Scan, Pixels | None]]:
    """One by one; frames of a video that stand together are read together."""
    for file, group in itertools.groupby(map(parse_address, paths), lambda part: part.file):
        if is_video(file):
            yield from scan_video(root, list(group), limits, images, trusted)
        else:
            for part in group:
                yield scan_file(root, str(part), limits, images, trusted)


def scan_block(
    root: Path,
    paths: Sequence[str],
    start: int,
    limits: Limits,
    images: Images,
    thumbnails_spot: Spot,
    pixels_spot: Spot | None,
    trusted: tuple[str, ...] = (),
    worker_bytes: float | None = None,
) -> ScannedBlock:
    """Reads and decodes a block of files, whose first slot is `start`; writes thumbnails and pixels
    where they belong. `worker_bytes`: of all files that a process of joblib's will decode
    (`settle_kernels`)."""
    if worker_bytes is not None:
        settle_kernels(worker_bytes)
    blank = np.zeros((images.size, images.size, 3), np.uint8)
    grey = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    scans, checksum = [], 0
    with pixels_spot.open() if pixels_spot else nullcontext() as pixels:
        # before the files are read
        mtimes = [read_state(os.path.join(root, path))[1] for path in paths]
        for i, (scan, square) in enumerate(_scan_all(root, paths, limits, images, trusted)):
            scans.append(scan)
            if square is not None:
                grey[i] = shrink_grey(square)
            if pixels is not None:  # one by one, while they are in the processor's cache
                content = (blank if square is None else np.ascontiguousarray(square)).data
                checksum = zlib.crc32(content, checksum)
                pixels.write(content)
    thumbnails = np.ascontiguousarray(shrink_thumbnails(grey))
    with thumbnails_spot.open() as file:
        file.write(thumbnails.data)
    checksums = (zlib.crc32(thumbnails.data), checksum if pixels_spot else None)
    return ScannedBlock(start, scans, mtimes, hash_thumbnails(grey), *checksums)
