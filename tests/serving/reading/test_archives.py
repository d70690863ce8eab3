"""Tar archives of any length."""

import tarfile
import tracemalloc
from pathlib import Path

from serving.reading.archives import TarSource


def test_a_shard_of_many_files_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3000):
            archive.addfile(tarfile.TarInfo(f"{number}.jpg"))
            archive.members.clear()
    tracemalloc.start()
    count = sum(1 for _ in TarSource(path, "").open())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < 300_000
