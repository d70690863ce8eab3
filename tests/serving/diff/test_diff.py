"""Two bundles on the same pictures: flips, differences, and who is right."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.errors import PictureError
from serving.diff import run as module
from serving.diff.comparing import Pair, compare_pairs, read_targets
from serving.diff.run import run
from serving.ensemble.rows import LabelledPicture


def row(name: str, score: float, log_odds: float, status: str = "ok") -> LabelledPicture:
    return LabelledPicture(name, score, "fake" if log_odds >= 0 else "real", log_odds, status)


def make_pairs(first: list[float], second: list[float]) -> list[Pair]:
    return [
        Pair(row(str(i), 0.5, a), row(str(i), 0.5, b))
        for i, (a, b) in enumerate(zip(first, second, strict=True))
    ]


def test_flips_are_counted_by_direction_and_the_largest_differences_come_first() -> None:
    pairs = make_pairs([-2, 1, -1, 3, -1], [2, 1.5, 0.5, -1, -1.2])
    found = compare_pairs(pairs, None, shown=2)
    assert found.flips == {("fake", "real"): 1, ("real", "fake"): 2}
    assert [pair.first.name for pair in found.largest] == ["0", "3"]
    assert found.judged is None


@pytest.mark.parametrize("shown", [0, 3])
def test_many_pairs_are_not_kept(shown: int) -> None:
    def come() -> Iterator[Pair]:
        for i in range(5000):
            yield Pair(row(str(i), 0.5, i), row(str(i), 0.5, -1))

    tracemalloc.start()
    found = compare_pairs(come(), None, shown)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.rows, [pair.first.name for pair in found.largest]) == (
        5000,
        ["4999", "4998", "4997"][:shown],
    )
    assert peak < 100_000


def test_a_picture_that_one_cannot_read_counts_for_neither() -> None:
    pairs = [Pair(row("a", 0.5, 1), row("a", 0.5, -1, "missing"))]
    found = compare_pairs(pairs, None, shown=5)
    assert (found.rows, found.unreadable, found.flips, found.largest) == (1, 1, {}, [])


def test_the_better_one_has_the_higher_auc_and_fewer_errors() -> None:
    labels = {str(i): int(i >= 20) for i in range(40)}
    good = [float(i - 19.5) for i in range(40)]
    poor = [odds if i % 3 else -odds for i, odds in enumerate(good)]
    found = compare_pairs(make_pairs(poor, good), labels, shown=0)
    assert found.judged is not None
    poor_auc, good_auc = (auc.auc for auc in found.judged.aucs)
    assert good_auc == 1
    assert found.judged.difference.auc == pytest.approx(1 - (poor_auc or 0))
    assert (found.judged.difference.low or 0) > 0
    before, after = found.judged.errors
    assert before["reals_called_fake"].value == pytest.approx(7 / 20)
    assert before["fakes_called_real"].value == pytest.approx(7 / 20)
    assert (after["reals_called_fake"].value, after["fakes_called_real"].value) == (0, 0)


def test_a_bundle_does_not_differ_from_itself(
    bundle: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "data/demo/valset"
    labels = project / "data/demo/valset_label.txt"
    run(bundle, bundle, (str(folder),), labels, shown=3)
    said = capsys.readouterr().out
    assert "There are none." in said
    assert "AUC of B minus that of A: +0.0000" in said


def test_as_json_it_is_one_document(
    bundle: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []
    monkeypatch.setattr(module, "get_form", lambda: "json")
    monkeypatch.setattr(module, "write_document", said.append)
    run(bundle, bundle, tuple(map(str, pictures[:3])), None, shown=1)
    (found,) = map(json.loads, map(json.dumps, said))
    assert found["rows"] == 3
    assert found["flips"] == {}
    assert found["largest"][0]["first"] == found["largest"][0]["second"]


def test_wrong_labels_are_all_named(tmp_path: Path) -> None:
    (path := tmp_path / "l.csv").write_text("img_name,target\na,1\nb,2\nc,\n")
    with pytest.raises(PictureError, match="2 problems") as error:
        read_targets(path)
    assert "line 3: target '2'" in str(error.value)
    path.write_text("name,label\na,1\n")
    with pytest.raises(PictureError, match="does not name img_name and target"):
        read_targets(path)


def test_a_picture_that_is_real_in_one_line_and_fake_in_another_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "l.csv").write_text("img_name,target\na,1\nb,0\na,fake\nb,1\n")
    with pytest.raises(PictureError, match="1 problem") as error:
        read_targets(path)
    assert "line 5: 'b' is real in one line, fake in another" in str(error.value)


def test_labels_of_no_picture_are_refused_before_anything_is_scored(
    bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "l.csv").write_text("img_name,target\na,1\n")
    monkeypatch.setattr(module.Ensemble, "load", lambda _: pytest.fail("a bundle was loaded"))
    with pytest.raises(PictureError, match="none of its names"):
        run(bundle, bundle, tuple(map(str, pictures[:2])), path, shown=1)


def test_labels_of_other_pictures_are_refused() -> None:
    with pytest.raises(PictureError, match="none of its names"):
        compare_pairs(make_pairs([1], [1]), {"other": 1}, shown=1)
