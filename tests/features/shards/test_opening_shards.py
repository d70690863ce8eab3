"""Files in shards: what their addresses are, and that one is opened by its place alone."""

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_shards import write_image_table, write_tar

from features.errors import ImageProblem
from features.pixels.reading import open_inside, read_inside
from features.shards import opening
from features.shards.names import AT, ROW, ShardMember, parse_member, title_file
from features.shards.tar import list_tar

CONTENTS = {f"{i:02d}.png": bytes([i]) * (1000 + i) for i in range(12)}


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("a/x.tar#at=512,9&member=real/a.jpg", ShardMember("a/x.tar", AT, 512, 9, "real/a.jpg")),
        ("x.parquet#row=3,17&member=a#b&c=1", ShardMember("x.parquet", ROW, 3, 17, "a#b&c=1")),
        ("x.tar#at=1,2&member=y.tar#at=3,4&member=z",
         ShardMember("x.tar", AT, 1, 2, "y.tar#at=3,4&member=z")),
        ("x.TAR#at=1,2&member=a", ShardMember("x.TAR", AT, 1, 2, "a")),
        ("x.tar#at=-1,2&member=a", None),
        ("x.zip#at=1,2&member=a", None),
        ("x.tar", None),
    ],
)  # fmt: skip
def test_an_address_is_what_a_member_was_written_as(text: str, member: ShardMember | None) -> None:
    assert parse_member(text) == member
    assert title_file(text) == (f"{member.shard}/{member.name}" if member else text)
    assert member is None or str(member) == text


@pytest.fixture
def addresses(tmp_path: Path) -> list[str]:
    """Of all contents, in two tars and a table, in turn."""
    found = []
    for half in (0, 1):
        names = [*CONTENTS][half::2]
        path = write_tar(tmp_path / f"{half}.tar", {name: CONTENTS[name] for name in names})
        found += [str(ShardMember(path.name, AT, f.offset, f.size, f.name)) for f in list_tar(path)]
    write_image_table(tmp_path / "x.parquet", [*CONTENTS.values()], {}, group=5)
    places = ((i // 5, i % 5, name) for i, name in enumerate(CONTENTS))
    return found + [str(ShardMember("x.parquet", ROW, *place)) for place in places]


def read_whole(root: Path, address: str) -> bool:
    member = parse_member(address)
    assert member
    return read_inside(root, address) == CONTENTS[member.name]


def test_a_file_is_one_read_of_an_open_shard(
    tmp_path: Path, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, opened = [], []
    preadv, open_file = os.preadv, os.open
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a[1:]) or preadv(*a))
    monkeypatch.setattr(os, "open", lambda *a: opened.append(a[0]) or open_file(*a))
    for address in addresses[:12]:
        assert read_whole(tmp_path, address)
    assert len(reads) == 12
    assert sorted(map(os.path.basename, opened)) == ["0.tar", "1.tar"]


def test_threads_and_forked_processes_read_at_once(tmp_path: Path, addresses: list[str]) -> None:
    rows = addresses * 20
    with ThreadPoolExecutor(8) as threads:
        first = [threads.submit(read_whole, tmp_path, address) for address in rows[::-1]]
        child = os.fork()
        if not child:  # as a worker of a `DataLoader`, beside threads that read
            try:
                os._exit(int(not all(read_whole(tmp_path, address) for address in rows)))
            finally:
                os._exit(2)
        assert all(read_whole(tmp_path, address) for address in rows)
        assert all(task.result() for task in first)
    assert os.waitpid(child, 0)[1] == 0


def test_few_shards_stay_open(tmp_path: Path) -> None:
    def count_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    if sys.platform != "linux":
        pytest.skip("counts what is open by /proc")
    before = count_open()
    for i in range(3 * opening.OPEN):
        write_tar(tmp_path / f"{i}.tar", {"a.png": b"content"})
        assert read_inside(tmp_path, f"{i}.tar#at=512,7&member=a.png") == b"content"
    assert count_open() <= before + opening.OPEN


def test_a_shard_that_was_written_anew_is_opened_anew(tmp_path: Path) -> None:
    for content in (b"first", b"other"):
        write_tar(tmp_path / "new.tar", {"a.png": content})
        os.replace(tmp_path / "new.tar", tmp_path / "x.tar")
        assert read_inside(tmp_path, "x.tar#at=512,5&member=a.png") == content


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("x.tar#at=512,0&member=a.png", "empty file"),
        ("x.tar#at=512,99999&member=a.png", "the shard ends before it"),
        ("x.parquet#row=0,5&member=a.png", "the shard ends before it"),
        ("x.parquet#row=7,0&member=a.png", "there is no row group 7"),
        ("x.parquet#row=0,1&member=a.png", "empty file"),
        ("broken.parquet#row=0,0&member=a.png", "no whole Parquet table"),
        ("lost.tar#at=0,5&member=a.png", "missing"),
        ("../x.tar#at=512,5&member=a.png", "a link leads outside the data root"),
        ("link.tar#at=512,5&member=a.png", "a link leads outside the data root"),
        ("folder.tar#at=512,5&member=a.png", "no regular file"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, address: str, problem: str) -> None:
    root = tmp_path / "root"
    (root / "folder.tar").mkdir(parents=True)
    write_tar(tmp_path / "x.tar", {"a.png": b"content"})
    write_tar(root / "x.tar", {"a.png": b"content"})
    write_image_table(root / "x.parquet", [b"content", None], {})
    (root / "broken.parquet").write_bytes((root / "x.parquet").read_bytes()[:-9])
    (root / "link.tar").symlink_to(tmp_path / "x.tar")
    with pytest.raises(ImageProblem, match=problem), open_inside(root, address):
        pass


def test_a_file_in_a_shard_is_read_as_files_are(tmp_path: Path, addresses: list[str]) -> None:
    for address in (addresses[0], addresses[-1]):
        with open_inside(tmp_path, address) as file:
            content = file.read()
            assert (file.seek(-3, os.SEEK_END), file.read(), file.read(1)) == (
                len(content) - 3, content[-3:], b""
            )  # fmt: skip
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            assert digest == hashlib.sha256(content).digest()
