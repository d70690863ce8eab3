"""Addresses of pictures: a file, or a frame of a video, as `clip.mp4#t=1.2`.

Written as in Media Fragments URI 1.0 of the W3C: seconds from the first frame, to the millisecond.
"""

import re
from typing import NamedTuple

_PART = re.compile(r"(.+)#t=(\d+(?:\.\d+)?)", re.DOTALL)


class Address(NamedTuple):
    """Where the pixels of a row are."""

    file: str
    time: float | None = None
    """Seconds; `None` for a picture that is a file."""

    def __str__(self) -> str:
        if self.time is None:
            return self.file
        return f"{self.file}#t={format(self.time, '.3f').rstrip('0').rstrip('.')}"


def parse_address(text: str) -> Address:
    """What `str` of an address gave."""
    found = _PART.fullmatch(text) if "#" in text else None
    return Address(found[1], float(found[2])) if found else Address(text)


def name_file(text: str) -> str:
    """The file of an address."""
    return parse_address(text).file
