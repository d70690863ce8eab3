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
from serving.scoring.early import EarlyAnswers, EarlyStop, open_early_stop
from serving.scoring.members import BundledMember, MemberScores
from serving.scoring.needs import find_needs
from serving.scoring.views import Squares
from stage2_ensemble.columns.columns import Floats, HeldOutColumns, Mask
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
    early: EarlyAnswers | None = None
    """Of squares that only the first networks of a cascade saw; their `log_odds` are NaN."""


@dataclass(frozen=True)
class MemberAnswers:
    """What members say of `n` squares, as the second stage wants it."""

    log_odds: Mapping[str, Floats]
    """By `<backbone>-<fold>` `(n,)`, at the class shares of train."""
    columns: tuple[HeldOutColumns, ...]
    """By fold, with zeros in place of members that were not asked: they count nothing."""


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
        early: EarlyStop | None = None,
    ) -> None:
        """`early`: where set, it decides which squares the dear members see."""
        self.second_stage = second_stage
        self.needs = find_needs(second_stage, second_stage.shipped)
        self._facts = {facts.name: facts for facts in members}
        self._load = load
        self._early = early
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

    def score(
        self, squares: Squares, all_members: bool = False, may_stop: Mask | None = None
    ) -> SquareScores:
        """`squares`: `(n, s, s, 3)` of the bundle's side.

        `all_members`: those, too, that what ships does not ask for. `may_stop` `(n,)`: squares
        that early answers are fit for, where there are any; by default all.
        """
        if not len(squares):
            asked = self._choose(all_members)
            return SquareScores(np.empty(0), {facts.name: np.empty(0) for facts in asked})
        if self._early and not all_members:
            return self._score_early(squares, self._early, may_stop)
        members = self.ask_members(squares, all_members)
        shipped = self.second_stage.score(self.second_stage.shipped, members.columns)
        return SquareScores(shipped, members.log_odds)

    def ask_members(self, squares: Squares, all_members: bool = False) -> MemberAnswers:
        """As `score`, of at least one square, before the second stage."""
        return self._answer(squares, self._ask(self._choose(all_members), squares))

    def _score_early(
        self, squares: Squares, early: EarlyStop, may_stop: Mask | None
    ) -> SquareScores:
        first = [facts for facts in self.needed if facts.backbone in early.backbones]
        found = self._ask(first, squares)
        corrected = {name: self._correct(name, answer) for name, answer in found.items()}
        answers = early.decide(corrected, self.second_stage.rules)
        if may_stop is not None:
            answers.log_odds[~may_stop] = np.nan
        left = np.flatnonzero(np.isnan(answers.log_odds))
        shipped = np.full(len(squares), np.nan)
        if len(left):
            rest = [facts for facts in self.needed if facts.backbone not in early.backbones]
            known = {name: answer.take(left) for name, answer in found.items()}
            members = self._answer(squares[left], known | self._ask(rest, squares[left]))
            shipped[left] = self.second_stage.score(self.second_stage.shipped, members.columns)
        return SquareScores(shipped, early=answers)

    def _ask(self, members: Sequence[MemberFacts], squares: Squares) -> dict[str, MemberScores]:
        return {facts.name: self.get_member(facts.name).score(squares) for facts in members}

    def _correct(self, name: str, found: MemberScores) -> Floats:
        return self._facts[name].correction.apply(found.log_odds)

    def _answer(self, squares: Squares, scores: Mapping[str, MemberScores]) -> MemberAnswers:
        members = {name: self._correct(name, found) for name, found in scores.items()}
        embeddings = {name: _halve(found.embeddings) for name, found in scores.items()}
        forensics = _measure_forensics(squares) if self.needs.forensics else None
        columns = tuple(
            self._build_columns(fold, len(squares), members, embeddings, forensics)
            for fold in self.second_stage.folds
        )
        return MemberAnswers(members, columns)

    def _choose(self, all_members: bool) -> tuple[MemberFacts, ...]:
        return tuple(self._facts.values()) if all_members else self.needed

    def _build_columns(
        self,
        fold: int,
        count: int,
        members: Mapping[str, Floats],
        embeddings: Mapping[str, npt.NDArray[np.float16]],
        forensics: npt.NDArray[np.float32] | None,
    ) -> HeldOutColumns:
        """What the members of one fold say."""
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


def open_scorer(bundle: Bundle, threads: int = 1, max_loss: float | None = None) -> Scorer:
    """That of a bundle; `threads`: as many does one question to one network take.

    `max_loss`: of AUC and balanced accuracy, so that dear networks see what they must alone.

    Raises `BundleError` where this version measures other forensic columns than what ships was
    fitted with, and where a member needs torch that is not there.
    """
    second_stage = read_ensemble(bundle.folder / SECOND_STAGE)
    members = bundle.facts.members
    early = None if max_loss is None else open_early_stop(bundle.folder, second_stage, max_loss)
    scorer = Scorer(
        second_stage, members, lambda facts: BundledMember(bundle.folder, facts, threads), early
    )
    if scorer.needs.forensics and _name_forensics() != bundle.facts.forensics:
        problem = "what ships looks at forensic columns, and this version measures others"
        raise BundleError(str(bundle.folder), [problem], "Install the version that made it.")
    for facts in scorer.needed:
        if facts.kind == "torch":  # now, and not at the first picture
            scorer.get_member(facts.name)
            _log.info("%s: member %s needs torch: %s", bundle.folder, facts.name, facts.reason)
    return scorer
