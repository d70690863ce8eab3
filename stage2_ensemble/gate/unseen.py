"""Candidates against the best simple combiner on domains that none of them learned from.

Left out are, one after the other, generators of fakes; sources of reals; and both at once. The rows
of a domain are not learned from, and scored against rows of the other class that were not learned
from either. Every domain counts the same. The interval resamples domains and, within them, groups:
few domains say little about others, however many rows they have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from features.core.number_text import format_difference
from features.runtime.progress import track
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns, Mask
from stage2_ensemble.columns.pseudo_sources import cluster_reals
from stage2_ensemble.gate.differences import draw_within, subtract_aucs
from stage2_ensemble.models.best_simple import BestSimple, split_inner
from stage2_ensemble.models.candidates import Model, fit_candidates

Kind = Literal[
    "generators",
    "sources of reals",
    "clusters of reals",
    "generators and sources of reals",
    "generators and clusters of reals",
]
LEAST = 2
"""Domains of a kind: with one alone, nothing would be left to learn from."""
FEW = "names fewer than two"
NO_CLUSTERS = "gate.pseudo_sources finds no clusters: too few reals, or no embeddings"
GONE = "without some of them a fold has rows of one class alone to learn from"
MIXED = "their groups hold rows of others, too, so that none is left that nobody learned from"
"""Why domains of a kind could not be left out."""
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class UnseenGain:
    """AUC of a candidate minus that of the best simple combiner, the mean over unseen domains."""

    kind: Kind
    domains: int
    difference: float
    low: float
    high: float
    worst: str
    """The domain on which the candidate does worst, and by how much."""
    worst_difference: float

    def describe(self) -> str:
        """`-0.0270 [-0.0411, -0.0102] on 4 sources of reals left out`."""
        text = format_difference(self.difference, self.low, self.high)
        return f"{text} on {self.domains} {self.kind} left out"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `asdict`."""
        return cls(**values)


@dataclass(frozen=True)
class Unseen:
    """What is known of candidates on domains that they did not learn from."""

    gains: Mapping[str, tuple[UnseenGain, ...]]
    """By candidate, one of each kind of domains that could be left out."""
    unknown: Mapping[str, str]
    """Kinds that could not be left out, and why."""


class _Turn(NamedTuple):
    """What is left out at a time; empty: of that class, some rows of all domains."""

    generators: tuple[str, ...]
    sources: tuple[str, ...]


class _Domain(NamedTuple):
    """One unseen domain: differences of AUC, and `(RESAMPLES,)` of the same on drawn groups."""

    name: str
    difference: float
    drawn: Floats


def leave_domains_out(
    folds: Sequence[FoldColumns],
    names: Sequence[str],
    settings: Stack,
    seed: int,
    masks: Sequence[Mask],
    pseudo_sources: int | None = None,
) -> Unseen:
    """The gains of these candidates on each kind of domains of which there are two or more.

    Only rows of `masks`, one a fold, are scored; models are single fits. Where no sources are named
    and `pseudo_sources` says how many, clusters of the reals' embeddings stand for them.
    """
    once = settings.model_copy(update={"bags": 1})
    generators = _list_domains(folds, "domains", 1)
    sources = _list_domains(folds, "sources", 0)
    unknown = {}
    if len(generators) < LEAST:
        unknown["generators"] = f"data.columns.generator {FEW}"
    if len(sources) < LEAST:
        unknown["sources of reals"] = f"data.columns.source {FEW}"
    of_reals: tuple[Kind, Kind] = ("sources of reals", "generators and sources of reals")
    if not sources and pseudo_sources:
        folds = cluster_reals(folds, pseudo_sources, settings, seed)
        sources = _list_domains(folds, "sources", 0)
        of_reals = ("clusters of reals", "generators and clusters of reals")
        if len(sources) < LEAST:
            unknown["sources of reals"] += f", and {NO_CLUSTERS}"
    turns = _list_turns(of_reals, generators, sources, settings.inner_folds)
    gains: dict[str, list[UnseenGain]] = {name: [] for name in names}
    for kind, own in turns.items():
        found: dict[str, list[_Domain]] = {name: [] for name in names}
        reason = MIXED
        for place, turn in enumerate(track(own, f"gate: {kind} left out", len(own), unit="parts")):
            rest, out = _cut(folds, turn, place, once, seed, masks)
            if any(len(np.unique(columns.labels)) < 2 for columns in rest):
                reason = GONE
                continue
            models, simple = fit_candidates(names, rest, once, seed)
            for name in names:
                found[name] += _score_domains(out, models[name], simple, turn, seed)
        if len(found[names[0]]) < LEAST:
            unknown[kind] = reason
            continue
        for name, domains in found.items():
            gains[name].append(_average(kind, domains, seed))
    return Unseen({name: tuple(own) for name, own in gains.items()}, unknown)


def _list_domains(folds: Sequence[FoldColumns], field: str, label: int) -> list[str]:
    """Names among rows of this class, the most frequent first; none where a fold has no names."""
    names: list[str] = []
    for columns in folds:
        values = getattr(columns, field)
        if values is None:
            return []
        names += values[columns.labels == label].tolist()
    known, counts = np.unique([n for n in names if n] or [""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [str(known[i]) for i in order if known[i]]


def _list_turns(
    of_reals: tuple[Kind, Kind], generators: Sequence[str], sources: Sequence[str], most: int
) -> dict[Kind, list[_Turn]]:
    """By kind at most `most` turns, or as many as domains; the largest are in different turns.

    `of_reals`: what domains of reals are called, and both kinds at once.
    """
    ours = [tuple(generators[i::most]) for i in range(min(most, len(generators)))]
    theirs = [tuple(sources[i::most]) for i in range(min(most, len(sources)))]
    turns: dict[Kind, list[_Turn]] = {}
    if len(ours) >= LEAST:
        turns["generators"] = [_Turn(own, ()) for own in ours]
    if len(theirs) >= LEAST:
        turns[of_reals[0]] = [_Turn((), own) for own in theirs]
    if len(turns) == 2:
        count = max(len(ours), len(theirs))
        pairs = [_Turn(ours[i % len(ours)], theirs[i % len(theirs)]) for i in range(count)]
        turns[of_reals[1]] = pairs
    return turns


def _cut(
    folds: Sequence[FoldColumns],
    turn: _Turn,
    place: int,
    settings: Stack,
    seed: int,
    masks: Sequence[Mask],
) -> tuple[list[FoldColumns], list[FoldColumns]]:
    """The rows of each fold that are learned from in a turn, and those that are scored, if any."""
    inner_folds = split_inner(folds, settings.inner_folds, seed)
    rest, out = [], []
    for columns, inner, mask in zip(folds, inner_folds, masks, strict=True):
        spared = inner == place % settings.inner_folds
        left = _find_left_out(columns, turn)
        # Of the class that loses no domain an inner fold is spared, with its groups. A group may
        # hold rows of every domain, so those of a domain stay: their other rows are not scored.
        other = np.zeros(len(columns), bool)
        if not turn.generators:
            other |= (columns.labels == 1) & spared
        if not turn.sources:
            other |= (columns.labels == 0) & spared
        learned = ~left & ~np.isin(columns.groups, columns.groups[other])
        scored = mask & (left | other) & ~np.isin(columns.groups, columns.groups[learned])
        rest.append(columns.take(learned))
        if scored.any():
            out.append(columns.take(scored))
    return rest, out


def _score_domains(
    out: Sequence[FoldColumns], model: Model, simple: BestSimple, turn: _Turn, seed: int
) -> Iterator[_Domain]:
    """What came of both sides on each domain of a turn."""
    found: dict[str, list[tuple[float, Floats]]] = {}
    for columns in out:
        sides = (model.score(columns), simple.score(columns))
        for domain, rows in _list_domain_rows(columns, turn):
            if len(np.unique(columns.labels[rows])) == 2:
                found.setdefault(domain, []).append(_subtract(columns, sides, rows, seed))
    for domain, by_fold in found.items():
        difference = float(np.mean([difference for difference, _ in by_fold]))
        yield _Domain(domain, difference, np.mean([drawn for _, drawn in by_fold], axis=0))


def _find_left_out(columns: FoldColumns, turn: _Turn) -> Mask:
    """Fakes of the turn's generators, and all rows of its sources."""
    left = np.zeros(len(columns), bool)
    if turn.generators:
        assert columns.domains is not None
        left |= (columns.labels == 1) & np.isin(columns.domains, turn.generators)
    if turn.sources:
        assert columns.sources is not None
        left |= np.isin(columns.sources, turn.sources)
    return left


def _list_domain_rows(columns: FoldColumns, turn: _Turn) -> Iterator[tuple[str, Mask]]:
    """The rows that each domain of a turn is judged by; where both are left out they are one."""
    fakes = columns.labels == 1
    if turn.generators and turn.sources:
        assert columns.domains is not None
        assert columns.sources is not None
        ours = fakes & np.isin(columns.domains, turn.generators)
        theirs = ~fakes & np.isin(columns.sources, turn.sources)
        yield f"{', '.join(turn.generators)} against {', '.join(turn.sources)}", ours | theirs
    for generator in () if turn.sources else turn.generators:
        yield generator, ~fakes | (columns.domains == generator)
    for source in () if turn.generators else turn.sources:
        yield source, fakes | (columns.sources == source)


def _subtract(
    columns: FoldColumns, sides: tuple[Floats, Floats], rows: Mask, seed: int
) -> tuple[float, Floats]:
    """AUC of the first scores minus that of the second, and on groups drawn again and again."""
    own = replace(columns, embeddings=(), extras=None).take(rows)
    ours, theirs = (scores[rows] for scores in sides)
    difference = subtract_aucs([own], [ours], [theirs])
    drawn = np.concatenate(list(draw_within(own, ours, theirs, RESAMPLES, seed)))
    return difference, np.nan_to_num(drawn, nan=difference)


def _average(kind: Kind, domains: Sequence[_Domain], seed: int) -> UnseenGain:
    """The mean over domains, and its interval: domains are drawn, each with drawn groups."""
    differences = np.array([domain.difference for domain in domains])
    drawn = np.stack([domain.drawn for domain in domains])
    chosen = np.random.default_rng(seed).integers(len(domains), size=drawn.shape)
    means = np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    worst = int(differences.argmin())
    return UnseenGain(
        kind=kind,
        domains=len(domains),
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        worst=domains[worst].name,
        worst_difference=float(differences[worst]),
    )
