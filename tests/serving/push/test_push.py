"""To the hub goes what passes `verify`; a dry run says what would go."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
