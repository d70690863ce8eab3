"""Members and dumps that `params.yaml` no longer names, laid aside, and taken back once it does.

DVC keeps one digest of `artifacts/members` and one of `artifacts/dumps`. What a backbone that was
taken out has left there would stand in them, and a clone that pulls the results, which brings only
what the pipeline names, would run everything again.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from features.runtime.terminal import log

PLACES = (Path("artifacts/members"), Path("artifacts/dumps"))
UNUSED = Path("artifacts/unused")


def set_unused_aside(backbones: Sequence[str], folds: Sequence[int], root: Path = Path()) -> None:
    """Moves folders `<place>/<backbone>/<fold>` of other members to `artifacts/unused`, and those
    of these members back where nothing has taken their place."""
    wanted = {(name, str(fold)) for name in backbones for fold in folds}
    for place in PLACES:
        kept, aside = root / place, root / UNUSED / place.name
        moved = [member for member in _list_members(kept) if member not in wanted]
        back = [member for member in _list_members(aside) if member in wanted]
        for member in moved:
            _move(member, kept, aside)
        for member in back:
            if not (kept / Path(*member)).exists():
                _move(member, aside, kept)
        if moved:
            names = ", ".join("-".join(member) for member in moved)
            log.info("%s: not in params.yaml, moved to %s: %s", place, UNUSED / place.name, names)


def _list_members(folder: Path) -> list[tuple[str, str]]:
    paths = sorted(path for path in folder.glob("*/*") if path.is_dir())
    return [(path.parent.name, path.name) for path in paths]


def _move(member: tuple[str, str], source: Path, target: Path) -> None:
    """In one step; an older one that lies there is lost."""
    old, new = source / Path(*member), target / Path(*member)
    new.parent.mkdir(parents=True, exist_ok=True)
    if new.exists():
        shutil.rmtree(new)
    os.replace(old, new)
    if not any(old.parent.iterdir()):
        old.parent.rmdir()
