"""What `python -m serving.push` does."""

import logging
import re
from pathlib import Path

from features.errors import BundleError
from serving.format.files import CARD, list_shown_files, open_bundle
from serving.verify.run import run as verify

NAME = re.compile(r"[\w.-]+/[\w.-]+")
_log = logging.getLogger("forgerystack")


def run(repo: str, folder: Path, public: bool, dry_run: bool) -> None:
    """Verifies the bundle, lists its files, and sends them unless it is a `dry_run`.

    Raises `BundleError`, also for what the hub refuses.
    """
    if not NAME.fullmatch(repo):
        raise BundleError(repo, ["the name of a repository is owner/name"])
    verify(folder)
    files = list_shown_files(folder)
    for path in files:
        _log.info("%12s  %s", f"{path.stat().st_size:,}", path.relative_to(folder).as_posix())
    size = sum(path.stat().st_size for path in files)
    facts = open_bundle(folder).facts
    if facts.samples or facts.neighbours:
        _log.warning(
            "push: %d pictures of val and %d thumbnails of training pictures go along",
            len(facts.samples), facts.neighbours,
        )  # fmt: skip
    if not (folder / CARD).is_file():
        _log.warning("push: there is no model card (%s), which the hub would show", CARD)
    _log.info("push: %d files, %.1f MB to %s", len(files), size / 1e6, repo)
    if dry_run:
        _log.info("push: a dry run, nothing was sent")
        return
    _log.info("push: %s", send_folder(repo, folder, public))


def send_folder(repo: str, folder: Path, public: bool) -> str:
    """Makes the repository if it is not there, and sends all files in place of those of an older
    bundle; its address."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        advice = "pip install 'forgerystack[train]'"
        raise BundleError(repo, ["sending needs huggingface_hub"], advice) from None
    api = HfApi()
    try:
        api.create_repo(repo, private=not public, exist_ok=True)
        sent = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Bundle of forgerystack",
            ignore_patterns=[".*", "*/.*"],
            delete_patterns=["*"],  # but for .gitattributes, which the hub keeps
        )
    except (HfHubHTTPError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        advice = "Log in with: hf auth login"
        raise BundleError(
            repo, [f"the hub cannot be reached, or refuses: {lines[0]}"], advice
        ) from None
    return str(sent)
