"""To the hub goes what passes `verify`; a dry run says what would go."""

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_api

from features.errors import BundleError
from serving.push import run as module
from serving.push.run import run


def test_a_dry_run_lists_all_files_with_their_sizes_and_sends_nothing(
    bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "send_folder", None)
    caplog.set_level("INFO")
    run("someone/forgeries", bundle, public=False, dry_run=True)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    for path in files:
        size, name = f"{path.stat().st_size:,}", path.relative_to(bundle).as_posix()
        assert any(line.split() == [size, name] for line in caplog.messages)
    assert f"push: {len(files)} files" in caplog.text
    assert "4 pictures of val and 8 thumbnails of training pictures go along" in caplog.text
    assert "nothing was sent" in caplog.text


def test_what_does_not_pass_is_not_sent(
    copied: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sent = copied(), []
    monkeypatch.setattr(module, "send_folder", lambda *given: sent.append(given))
    (folder / "members/noise-0.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        run("someone/forgeries", folder, public=False, dry_run=False)
    assert not sent


def test_what_passes_is_sent(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(module, "send_folder", lambda *given: sent.append(given))
    run("someone/forgeries", bundle, public=True, dry_run=False)
    assert sent == [("someone/forgeries", bundle, True)]


def test_a_repository_has_an_owner(bundle: Path) -> None:
    with pytest.raises(BundleError, match="owner/name"):
        run("forgeries", bundle, public=False, dry_run=True)


def test_hidden_files_stay_here_and_those_of_an_older_bundle_go_there(
    copied: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    (folder / ".cache").mkdir()
    for hidden in (".gitattributes", ".cache/fetched", "members/.DS_Store"):
        (folder / hidden).write_text("x")
    there = [".gitattributes", "members/older-0.onnx", "bundle.json"]
    operations: list = []

    def keep(*_, **given) -> str:
        operations.extend(given["operations"])
        return "https://hub"

    for name in ("create_repo", "_validate_yaml", "preupload_lfs_files"):
        monkeypatch.setattr(HfApi, name, lambda *_, **__: None)
    monkeypatch.setattr(hf_api, "is_xet_available", lambda: False)
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_, **__: there)
    monkeypatch.setattr(HfApi, "create_commit", keep)
    run("someone/forgeries", folder, public=False, dry_run=False)
    added = {own.path_in_repo for own in operations if isinstance(own, CommitOperationAdd)}
    removed = {own.path_in_repo for own in operations if isinstance(own, CommitOperationDelete)}
    assert added == names
    assert "members/older-0.onnx" in removed
    assert ".gitattributes" not in removed
