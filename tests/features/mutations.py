"""Files as disks, networks and programs spoil them: each a function of the seed alone."""

import os
from collections.abc import Iterator

import numpy as np

COUNT = int(os.environ.get("FORGERYSTACK_FUZZ", 0))
"""Mutations of each kind of file that `make fuzz` asks for."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEAD = 64
"""Bytes of a file that are its header, about."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one to three faults."""
    faults = (flip, cut, insert, clear_sector, set_field, repeat_part)
    for _ in range(rng.integers(1, 4)):
        content = faults[rng.integers(len(faults))](content, rng)
    return content


def list_mutations(content: bytes, count: int) -> Iterator[bytes]:
    """`count` of them; the n-th is always the same."""
    for n in range(count):
        yield mutate(content, np.random.default_rng([n, len(content)]))


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit, or a few bytes."""
    changed = bytearray(content)
    for place in rng.integers(0, max(len(changed), 1), rng.integers(1, 9)):
        if place < len(changed):
            changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """The file ends too early."""
    return content[: rng.integers(0, len(content) + 1)]


def insert(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes that do not belong there."""
    place = rng.integers(0, len(content) + 1)
    return content[:place] + rng.bytes(rng.integers(1, 40)) + content[place:]


def clear_sector(content: bytes, rng: np.random.Generator) -> bytes:
    """A lost sector reads as zeros."""
    start = rng.integers(0, len(content) + 1)
    size = min(rng.integers(1, 513), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def set_field(content: bytes, rng: np.random.Generator) -> bytes:
    """A number of the header becomes an extreme one."""
    start = rng.integers(0, min(HEAD, len(content)) + 1)
    width = int(rng.choice([1, 2, 4]))
    number = NUMBERS[rng.integers(len(NUMBERS))] & ((1 << 8 * width) - 1)
    field = number.to_bytes(width, "big" if rng.integers(2) else "little")
    return content[:start] + field + content[start + width :]


def repeat_part(content: bytes, rng: np.random.Generator) -> bytes:
    """A part stands there twice, as after a bad copy."""
    start, stop = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:stop] + content[start:]
