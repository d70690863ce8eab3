"""A bundle that was changed is found out, and all that is wrong with it is said at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from features.core.files import SEAL, digest_json
from features.errors import BundleError
from serving import Ensemble
from serving.format.files import FACTS, MANIFEST, seal_bundle
from serving.verify.run import run


def test_a_bundle_as_written_passes_and_scores_its_samples(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(bundle)
    assert "4 samples score as they did" in caplog.text


def test_all_files_that_were_changed_or_lost_are_named(copied: Callable[[], Path]) -> None:
    folder = copied()
    graph = folder / "members/noise-0.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    (folder / "second_stage/ensemble.json").unlink()
    with pytest.raises(BundleError, match="2 problems") as error:
        Ensemble.load(folder)
    assert "members/noise-0.onnx was changed" in str(error.value)
    assert "second_stage/ensemble.json is missing" in str(error.value)


def test_a_file_too_many_is_named(copied: Callable[[], Path]) -> None:
    folder = copied()
    (folder / "members/extra.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"members/extra\.onnx is no part"):
        run(folder)


def test_hidden_files_that_hubs_and_systems_add_are_no_part_of_it(
    copied: Callable[[], Path],
) -> None:
    folder = copied()
    (folder / ".gitattributes").write_text("*.onnx filter=lfs")
    (folder / ".cache/huggingface/download").mkdir(parents=True)
    (folder / ".cache/huggingface/download/bundle.json.metadata").write_text("x")
    (folder / "members/.DS_Store").write_text("x")
    run(folder)


def test_samples_that_score_otherwise_are_named(copied: Callable[[], Path]) -> None:
    folder = copied()
    facts = json.loads((folder / FACTS).read_text())
    facts["samples"][1]["log_odds"] += 0.01
    (folder / FACTS).write_text(json.dumps(facts))
    (folder / MANIFEST).unlink()
    seal_bundle(folder)
    with pytest.raises(BundleError, match="1 problem") as error:
        run(folder)
    assert facts["samples"][1]["file"] in str(error.value)
    assert "onnxruntime" in str(error.value)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle: there is no MANIFEST\.json"):
        Ensemble.load(tmp_path)
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(BundleError, match="no manifest"):
        Ensemble.load(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd"])
def test_a_manifest_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    facts = {"sha256": {FACTS: "0", name: "0"}}
    (tmp_path / MANIFEST).write_text(json.dumps({**facts, SEAL: digest_json(facts)}))
    with pytest.raises(BundleError, match="was changed"):
        Ensemble.load(tmp_path)


def test_a_bundle_of_a_newer_form_says_so(copied: Callable[[], Path]) -> None:
    folder = copied()
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(facts | {"form": 5}))
    (folder / MANIFEST).unlink()
    seal_bundle(folder)
    with pytest.raises(BundleError, match="form 5, and this version of forgerystack reads form 4"):
        Ensemble.load(folder)
