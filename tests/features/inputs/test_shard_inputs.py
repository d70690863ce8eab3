"""Shards among the inputs: others are noticed, and only those that were written are read."""

from pathlib import Path
from typing import Any

import pytest
from made_shards import write_tar

from features.core import files
from features.errors import ManifestError
from features.inputs import contents
from features.inputs.contents import KnownContents
from features.inputs.pictures import describe_pictures, find_change
from features.inputs.run import describe_inputs
from features.settings.data import Data


def write_two(folder: Path) -> None:
    for number in (0, 1):
        write_tar(folder / f"{number}.tar", {"a.png": bytes([number])})


def test_changed_shards_are_told_and_the_others_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two(tmp_path / "s")
    known = KnownContents({})
    before = describe_pictures(tmp_path, "s", (), known)
    assert describe_pictures(tmp_path, "s/*.tar", (), KnownContents({})) == before
    read: list[str] = []
    digest = files.digest_file
    monkeypatch.setattr(contents, "digest_file", lambda p: read.append(p.name) or digest(p))
    write_tar(tmp_path / "s/1.tar", {"a.png": b"other"})
    after = describe_pictures(tmp_path, "s", (), KnownContents(known.asked))
    assert (find_change(before, after), read) == ("other shards of the same names", ["1.tar"])
    write_tar(tmp_path / "s/2.tar", {"a.png": b""})
    more = describe_pictures(tmp_path, "s", (), KnownContents(known.asked))
    assert find_change(after, more) == "3 shards instead of 2"


def test_all_roles_without_shards_are_told_at_once(tmp_path: Path) -> None:
    write_two(tmp_path / "s")
    (tmp_path / "z").mkdir()
    (tmp_path / "z/a.tar.gz").touch()
    roles: dict[str, Any] = {
        role: {"labels": None, "images": images}
        for role, images in {"train": "s/x*.tar", "val": "z", "test": "s/*.tar"}.items()
    }
    with pytest.raises(ManifestError) as caught:
        describe_inputs(Data.model_validate({"root": str(tmp_path), **roles}), KnownContents({}))
    told = [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]
    assert told[0] == "data.train.images: s/x*.tar: no file is called so"
    assert told[1].startswith("data.val.images: z: a.tar.gz: files in a compressed archive")
    assert len(told) == 2
