"""The networks and the second stage as one: rows of squares to log-odds."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.errors import BundleError
from serving.format.facts import MemberFacts, PixelFacts, Sight, group_by_file, list_networks
from serving.format.files import SECOND_STAGE, Bundle
from serving.reading.shown import RowSquares, ShownRows
from serving.scoring.early import EarlyAnswers, EarlyStop, open_early_stop
from serving.scoring.needs import find_needs
from serving.scoring.networks import BundledNetwork, NetworkScores
from serving.scoring.views import Squares
from stage1_cnn.scoring.merging import ScoredRows, halve, merge_squares
from stage2_ensemble.columns.columns import Floats, HeldOutColumns, Mask, gather_crop_logits
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage

_log = logging.getLogger("forgerystack")
TOGETHER = 16
"""Squares that a network is asked about at a time, of whatever rows: batches of 16 to 64 are scored
alike fast, and fewer take less memory."""


@dataclass(frozen=True)
class EnsembleScores:
    """What a bundle says of `n` rows: log-odds of fake as they come, `(n,)` each."""

    log_odds: Floats
    """Of what ships."""
    members: Mapping[str, Floats] = field(default_factory=dict)
    """Of the members that were asked, by `<backbone>-<fold>`, at the class shares of train."""
    early: EarlyAnswers | None = None
    """Of rows that only the first networks of a cascade saw; their `log_odds` are NaN."""


@dataclass(frozen=True)
class MemberAnswers:
    """What members say of `n` rows, as the second stage wants it."""

    log_odds: Mapping[str, Floats]
    """By `<backbone>-<fold>` `(n,)`, at the class shares of train."""
    columns: tuple[HeldOutColumns, ...]
    """By fold, with zeros in place of members that were not asked: they count nothing."""


class AskedNetwork(Protocol):
    """What a network says of squares `(n, s, s, 3)`; many threads may ask."""

    def score(self, squares: Squares) -> NetworkScores:
        """See `NetworkScores`."""
        ...


class Scorer:
    """All that scores; a network is loaded when it is asked first. Many threads may ask."""

    def __init__(
        self,
        second_stage: SecondStage,
        members: Sequence[MemberFacts],
        pixels: PixelFacts,
        load: Callable[[MemberFacts], AskedNetwork],
        early: EarlyStop | None = None,
    ) -> None:
        """`load`: the network of a member's file; `early`: where set, it decides which rows the
        expensive members see."""
        self.second_stage = second_stage
        self.needs = find_needs(second_stage, second_stage.shipped)
        self._facts = {facts.name: facts for facts in members}
        self._whole = Sight(mode="square", side=pixels.size)
        self._load = load
        self._early = early
        self._loaded: dict[str, AskedNetwork] = {}
        self._lock = threading.Lock()

    @property
    def needed(self) -> tuple[MemberFacts, ...]:
        """Members that what ships asks for."""
        return tuple(m for m in self._facts.values() if m.backbone in self.needs.backbones)

    def list_sights(self, all_members: bool = False) -> list[Sight]:
        """What rows have to show for `score`."""
        sights = [facts.sees for facts in self._choose(all_members)]
        return list(dict.fromkeys([*sights, *([self._whole] if self.needs.forensics else [])]))

    def get_network(self, facts: MemberFacts) -> AskedNetwork:
        """That of a member's file, loaded once for all members that share it."""
        with self._lock:
            if facts.file not in self._loaded:
                self._loaded[facts.file] = self._load(facts)
            return self._loaded[facts.file]

    def score(
        self, rows: ShownRows, all_members: bool = False, may_stop: Mask | None = None
    ) -> EnsembleScores:
        """`rows`: as `list_sights` wants them.

        `all_members`: those, too, that what ships does not ask for. `may_stop` `(n,)`: rows that
        early answers are fit for, where there are any; by default all.
        """
        if not len(rows):
            asked = self._choose(all_members)
            return EnsembleScores(np.empty(0), {facts.name: np.empty(0) for facts in asked})
        if self._early and not all_members:
            return self._score_early(rows, self._early, may_stop)
        members = self.ask_members(rows, all_members)
        shipped = self.second_stage.score(self.second_stage.shipped, members.columns)
        return EnsembleScores(shipped, members.log_odds)

    def ask_members(self, rows: ShownRows, all_members: bool = False) -> MemberAnswers:
        """As `score`, of at least one row, before the second stage."""
        return self._answer(rows, self._ask(self._choose(all_members), rows))

    def score_squares(self, facts: MemberFacts, squares: Squares) -> NetworkScores:
        """What the network of a member says of squares `(m, s, s, 3)`, a few at a time."""
        network = self.get_network(facts)
        starts = range(0, len(squares), TOGETHER)
        parts = [network.score(squares[start : start + TOGETHER]) for start in starts]
        return NetworkScores(*(np.concatenate(own) for own in zip(*parts, strict=True)))

    def _score_early(
        self, rows: ShownRows, early: EarlyStop, may_stop: Mask | None
    ) -> EnsembleScores:
        first = [facts for facts in self.needed if facts.backbone in early.backbones]
        found = self._ask(first, rows)
        corrected = {name: self._correct(name, answer) for name, answer in found.items()}
        answers = early.decide(corrected, self.second_stage.rules)
        if may_stop is not None:
            answers.log_odds[~may_stop] = np.nan
        left = np.flatnonzero(np.isnan(answers.log_odds))
        shipped = np.full(len(rows), np.nan)
        if len(left):
            rest = [facts for facts in self.needed if facts.backbone not in early.backbones]
            known = {name: answer.take(left) for name, answer in found.items()}
            late = rows.take(left)
            members = self._answer(late, known | self._ask(rest, late))
            shipped[left] = self.second_stage.score(self.second_stage.shipped, members.columns)
        return EnsembleScores(shipped, early=answers)

    def _ask(self, members: Sequence[MemberFacts], rows: ShownRows) -> dict[str, ScoredRows]:
        """Each network once, whatever the number of members that share it."""
        found: dict[str, ScoredRows] = {}
        for group in group_by_file(members).values():
            found |= self._ask_network(group, rows.by_sight[group[0].sees])
        return {facts.name: found[facts.name] for facts in members}

    def _ask_network(
        self, members: Sequence[MemberFacts], rows: RowSquares
    ) -> dict[str, ScoredRows]:
        """By name of the members of one file; those that read the same have one array of
        embeddings in common."""
        log_odds, embeddings = self.score_squares(members[0], rows.pixels).take(rows.places)
        by_start: dict[int, npt.NDArray[np.float16]] = {}
        found = {}
        for facts in members:
            single = log_odds[:, facts.head]
            own = embeddings[:, facts.span] if facts.start not in by_start else embeddings[:, :0]
            if facts.sees.mode == "crop":
                scored = merge_squares(rows.counts, single, own)
            else:
                scored = ScoredRows(single, halve(own))
            by_start.setdefault(facts.start, scored.embeddings)
            found[facts.name] = replace(scored, embeddings=by_start[facts.start])
        return found

    def _correct(self, name: str, found: ScoredRows) -> Floats:
        return self._facts[name].correction.apply(found.logits)

    def _correct_crops(self, name: str, scores: Mapping[str, ScoredRows]) -> Floats | None:
        """None of members that were not asked, or that see one square of a picture."""
        if name not in scores:
            return None
        return self._facts[name].correction.apply_to_crops(scores[name].crop_logits)

    def _answer(self, rows: ShownRows, scores: Mapping[str, ScoredRows]) -> MemberAnswers:
        members = {name: self._correct(name, found) for name, found in scores.items()}
        forensics = None
        if self.needs.forensics:
            whole = rows.by_sight[self._whole]
            forensics = _measure_forensics(whole.pixels)[whole.places]
        columns = tuple(
            self._build_columns(fold, len(rows), members, scores, forensics)
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
        scores: Mapping[str, ScoredRows],
        forensics: npt.NDArray[np.float32] | None,
    ) -> HeldOutColumns:
        """What the members of one fold say."""
        backbones = self.second_stage.backbones
        names = [f"{backbone}-{fold}" for backbone in backbones]
        nothing = ScoredRows(np.zeros(count, np.float32), np.zeros((count, 0), np.float16))
        found = [scores.get(name, nothing) for name in names]
        crop_logits = [self._correct_crops(name, scores) for name in names]
        return HeldOutColumns(
            fold=fold,
            backbones=backbones,
            row_ids=np.arange(count),
            logits=np.stack([members.get(name, np.zeros(count)) for name in names], axis=1),
            embeddings=tuple(own.embeddings for own in found),
            digests=self.second_stage.digests[fold],
            extras=forensics,
            extra_names=_name_forensics() if forensics is not None else (),
            crop_logits=gather_crop_logits(crop_logits),
        )


def _measure_forensics(squares: Squares) -> npt.NDArray[np.float32]:
    from features.forensics.columns import measure_images  # late: few bundles need it

    return np.asarray(measure_images(squares), np.float32)


def _name_forensics() -> tuple[str, ...]:
    from features.forensics.columns import COLUMNS

    return tuple(f"forensic:{name}" for name in COLUMNS)


def open_scorer(
    bundle: Bundle, threads: int = 1, max_loss: float | None = None, prior: float | None = None
) -> Scorer:
    """That of a bundle; `threads`: as many does one question to one network take.

    `max_loss`: of AUC and balanced accuracy, so that expensive networks see what they must alone.
    `prior`: share of fakes that probabilities assume, in place of the bundle's.

    Raises `BundleError` where this version measures other forensic columns than what ships was
    fitted with, and where a member needs torch that is not there; `ConfigError` where another
    `prior` would have another threshold.
    """
    second_stage = read_ensemble(bundle.folder / SECOND_STAGE)
    if prior is not None:
        second_stage = second_stage.at_share(prior)
    members = bundle.facts.members
    early = None if max_loss is None else open_early_stop(bundle.folder, second_stage, max_loss)

    def load(facts: MemberFacts) -> BundledNetwork:
        return BundledNetwork(bundle.folder, facts, threads)

    scorer = Scorer(second_stage, members, bundle.facts.pixels, load, early)
    if scorer.needs.forensics and _name_forensics() != bundle.facts.forensics:
        problem = "what ships looks at forensic columns, and this version measures others"
        raise BundleError(str(bundle.folder), [problem], "Install the version that made it.")
    for facts in list_networks(scorer.needed):
        if facts.kind == "torch":  # now, and not at the first picture
            scorer.get_network(facts)
            _log.info("%s: %s needs torch: %s", bundle.folder, facts.file, facts.reason)
    return scorer
