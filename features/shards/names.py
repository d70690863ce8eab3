"""What shards are called, and the files in them.

A file in a shard has an address: `train-000.tar#at=1536,20480&member=real/a.jpg` is 20,480 bytes
from 1,536 on, `train-000.parquet#row=3,17&member=a.jpg` row 17 of row group 3. So no index is kept,
and none is searched, to open one. The name stands last: its ending is that of the address, and what
follows it says which part of a picture is meant (`features.videos.addresses`).
"""

import re
from typing import NamedTuple

from features.videos.frames import VIDEO_ENDINGS

TAR, PARQUET = ".tar", ".parquet"
SHARD_ENDINGS = (TAR, PARQUET)
COMPRESSED_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Of archives whose files cannot be opened one by one."""
UNPACK = "files in a compressed archive cannot be opened one by one: unpack it (gunzip)"
PICTURE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif"),
    *(".tif", ".tiff", ".jp2", ".j2k"),
)
"""Of names in an archive that are taken: others are labels and texts that belong to pictures."""
MEDIA_ENDINGS = (*PICTURE_ENDINGS, *VIDEO_ENDINGS)
AT, ROW = "at", "row"
_ADDRESS = re.compile(
    r"(?P<shard>.+?(?i:\.tar|\.parquet))#(?P<kind>at|row)=(\d{1,18}),(\d{1,18})&member=(.+)",
    re.DOTALL,
)


class ShardMember(NamedTuple):
    """A file in a shard."""

    shard: str
    kind: str
    """`AT` in a tar, `ROW` in a table."""
    first: int
    """Where its bytes begin, or its row group."""
    second: int
    """How many they are, or its row in that group."""
    name: str

    def __str__(self) -> str:
        return f"{self.shard}#{self.kind}={self.first},{self.second}&member={self.name}"


def parse_member(text: str) -> ShardMember | None:
    """What `str` of a member gave; `None` for the path of a file."""
    found = _ADDRESS.fullmatch(text) if "&member=" in text else None
    if not found:
        return None
    shard, kind, first, second, name = found.groups()
    return ShardMember(shard, kind, int(first), int(second), name)


def title_file(path: str) -> str:
    """What a file is called for people: in a shard as if that were a folder."""
    member = parse_member(path)
    return f"{member.shard}/{member.name}" if member else path
