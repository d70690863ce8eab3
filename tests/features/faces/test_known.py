"""What was found is found again, unless the file is another one."""

from pathlib import Path

import numpy as np

from features.faces.known import FaceIndex, FoundFaces

FACES = np.array([[1, 2, 30, 40, 0.75]], np.float32)


def test_a_picture_is_known_as_long_as_its_file_stays(tmp_path: Path) -> None:
    none = np.empty((0, 5), np.float32)
    with FaceIndex(str(tmp_path)) as index:
        assert index.find("/a.png", (10, 99)) is None
        index.add(["/a.png"], (10, 99), [FoundFaces(64, 48, FACES)])
        index.add(["/x.parquet#row=0,1&member=c"], (None, 7), [FoundFaces(8, 8, none)])
        index.add(["/b.mp4#t=1", "/b.mp4#t=2"], (20, 5), [FoundFaces(8, 8, none)] * 2)
    with FaceIndex(str(tmp_path)) as index:
        found = index.find("/a.png", (10, 99))
        assert found is not None
        assert found[:2] == (64, 48)
        np.testing.assert_array_equal(found.faces, FACES)
        assert index.find("/a.png", (10, 100)) is None
        assert index.find("/x.parquet#row=0,1&member=c", (None, 7)) is not None
        clip = index.find("/b.mp4#t=2", (20, 5))
        assert clip is not None
        assert clip.faces.shape == (0, 5)


def test_a_damaged_index_is_begun_anew(tmp_path: Path) -> None:
    with FaceIndex(str(tmp_path)) as index:
        index.add(["/a.png"], (10, 99), [FoundFaces(64, 48, FACES)])
    (path,) = tmp_path.rglob("*.sqlite")
    path.write_bytes(b"no database" * 100)
    with FaceIndex(str(tmp_path)) as index:
        assert index.find("/a.png", (10, 99)) is None
