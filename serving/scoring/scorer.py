"""The members and the second stage as one: squares to log-odds."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.errors import BundleError
from serving.format.facts import MemberFacts
from serving.format.files import SECOND_STAGE, Bundle
from serving.scoring.members import BundledMember, MemberScores
from serving.scoring.needs import find_needs
from serving.scoring.views import Squares
from stage2_ensemble.columns.columns import Floats, HeldOutColumns
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage

_log = logging.getLogger("forgerystack")
HALF_MAX = 65_504
"""float16, in which dumps keep embeddings, ends there."""


@dataclass(frozen=True)
class SquareScores:
    """What a bundle says of `n` squares: log-odds of fake as they come, `(n,)` each."""

    log_odds: Floats
    """Of what ships."""
    members: Mapping[str, Floats] = field(default_factory=dict)
    """Of the members that were asked, by `<backbone>-<fold>`, at the class shares of train."""


class AskedMember(Protocol):
    """What a network says of squares `(n, s, s, 3)`; many threads may ask."""

    def score(self, squares: Squares) -> MemberScores:
        """See `MemberScores`."""
        ...


class Scorer:
    """All that scores; a network is loaded when it is asked first. Many threads may ask."""

    def __init__(
        self,
        second_stage: SecondStage,
        members: Sequence[MemberFacts],
        load: Callable[[MemberFacts], AskedMember],
    ) -> None:
        self.second_stage = second_stage
        self.needs = find_needs(second_stage, second_stage.shipped)
        self._facts = {facts.name: facts for facts in members}
        self._load = load
        self._loaded: dict[str, AskedMember] = {}
        self._lock = threading.Lock()

    @property
    def needed(self) -> tuple[MemberFacts, ...]:
        """Members that what ships asks for."""
        return tuple(m for m in self._facts.values() if m.backbone in self.needs.backbones)

    def get_member(self, name: str) -> AskedMember:
        """The member of this name, loaded once."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._facts[name])
            return self._loaded[name]

    def score(self, squares: Squares, all_members: bool = False) -> SquareScores:
        """`squares`: `(n, s, s, 3)` of the bundle's side.

        `all_members`: those, too, that what ships does not ask for.
        """
        asked = tuple(self._facts.values()) if all_members else self.needed
        if not len(squares):
            return SquareScores(np.empty(0), {facts.name: np.empty(0) for facts in asked})
        scores = {facts.name: self.get_member(facts.name).score(squares) for facts in asked}
        members = {
            name: self._facts[name].correction.apply(found.log_odds)
            for name, found in scores.items()
        }
        embeddings = {name: _halve(found.embeddings) for name, found in scores.items()}
        forensics = _measure_forensics(squares) if self.needs.forensics else None
        columns = [
            self._build_columns(fold, len(squares), members, embeddings, forensics)
            for fold in self.second_stage.folds
        ]
        shipped = self.second_stage.score(self.second_stage.shipped, columns)
        return SquareScores(shipped, members)

    def _build_columns(
        self,
        fold: int,
        count: int,
        members: Mapping[str, Floats],
        embeddings: Mapping[str, npt.NDArray[np.float16]],
        forensics: npt.NDArray[np.float32] | None,
    ) -> HeldOutColumns:
        """What the members of one fold say; of those that were not asked zeros, which count
        nothing."""
        backbones = self.second_stage.backbones
        names = [f"{backbone}-{fold}" for backbone in backbones]
        nothing = np.zeros(count)
        return HeldOutColumns(
            fold=fold,
            backbones=backbones,
            row_ids=np.arange(count),
            logits=np.stack([members.get(name, nothing) for name in names], axis=1),
            embeddings=tuple(
                embeddings.get(name, np.zeros((count, 0), np.float16)) for name in names
            ),
            digests=self.second_stage.digests[fold],
            extras=forensics,
            extra_names=_name_forensics() if forensics is not None else (),
        )


def _halve(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """As dumps keep them, and the second stage learned from them."""
    return np.clip(embeddings, -HALF_MAX, HALF_MAX).astype(np.float16)


def _measure_forensics(squares: Squares) -> npt.NDArray[np.float32]:
    from features.forensics.columns import measure_images  # late: few bundles need it

    return np.asarray(measure_images(squares), np.float32)


def _name_forensics() -> tuple[str, ...]:
    from features.forensics.columns import COLUMNS

    return tuple(f"forensic:{name}" for name in COLUMNS)


def open_scorer(bundle: Bundle, threads: int = 1) -> Scorer:
    """That of a bundle; `threads`: as many does one question to one network take.

    Raises `BundleError` where this version measures other forensic columns than what ships was
    fitted with, and where a member needs torch that is not there.
    """
    second_stage = read_ensemble(bundle.folder / SECOND_STAGE)
    members = bundle.facts.members
    scorer = Scorer(
        second_stage, members, lambda facts: BundledMember(bundle.folder, facts, threads)
    )
    if scorer.needs.forensics and _name_forensics() != bundle.facts.forensics:
        problem = "what ships looks at forensic columns, and this version measures others"
        raise BundleError(str(bundle.folder), [problem], "Install the version that made it.")
    for facts in scorer.needed:
        if facts.kind == "torch":  # now, and not at the first picture
            scorer.get_member(facts.name)
            _log.info("%s: member %s needs torch: %s", bundle.folder, facts.name, facts.reason)
    return scorer
