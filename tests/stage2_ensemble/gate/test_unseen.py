"""Domains that neither side learned from: whose rows are left out, and what the figures are.

Both sides are stand-ins that score by a column each, so every figure can be worked out by hand.
"""

import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out

from features.errors import LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.gate import unseen
from stage2_ensemble.gate.unseen import UnseenGain, leave_domains_out
from stage2_ensemble.models.best_simple import split_inner

SETTINGS = Stack(inner_folds=3, pca_components=2)
NAME = "lightgbm"
GENERATORS, SOURCES, BOTH = "generators", "sources of reals", "generators and sources of reals"


@dataclass
class Ledger:
    """Rows that each turn learned from and scored, by fold, as `(fold, row_id)`."""

    learned: list[set[tuple[int, int]]] = field(default_factory=list)
    scored: list[set[tuple[int, int]]] = field(default_factory=list)

    def list_turns(self):
        return zip(self.learned, self.scored, strict=True)


def list_rows(folds) -> set[tuple[int, int]]:
    return {(c.fold, int(row)) for c in folds for row in c.row_ids}


@pytest.fixture
def ledger(monkeypatch) -> Ledger:
    """The candidate scores by the first backbone, the simple one by the second."""
    noted = Ledger()

    class Side:
        def __init__(self, place):
            self.place = place

        def score(self, columns):
            noted.scored[-1] |= list_rows([columns])
            return columns.logits[:, self.place]

    def fit(names, rest, settings, seed):
        noted.learned.append(list_rows(rest))
        noted.scored.append(set())
        assert settings.bags == 1
        return {name: Side(place) for place, name in enumerate(names)}, Side(1)

    monkeypatch.setattr(unseen, "fit_candidates", fit)
    return noted


def name_rows(
    columns: FoldColumns, generators: int = 0, sources: int = 0, groups: str = "single"
) -> FoldColumns:
    """Fakes and reals in turn of so many generators and sources, `gen 0` … and `cam 0` ….

    Fakes have sources, too. `groups`: `mixed` are groups of four rows of any class and
    generator, all but a few of one source, as a picture and what was made of it.
    """
    n, fakes = len(columns), columns.labels == 1
    domains, cameras = np.full(n, "", object), np.full(n, "", object)
    if generators:
        domains[fakes] = [f"gen {i % generators}" for i in range(fakes.sum())]
    if sources:
        cameras[~fakes] = [f"cam {i % sources}" for i in range((~fakes).sum())]
        cameras[fakes] = [f"cam {i % sources}" for i in range(fakes.sum())]
    named = replace(columns, domains=domains, sources=cameras)
    if groups == "mixed":
        groups = np.empty(n, np.int64)
        groups[np.lexsort((np.random.default_rng(9).random(n), cameras))] = np.arange(n) // 4
        named = replace(named, groups=groups)
    return named


def leave(folds, settings=SETTINGS, masks=None, **rest) -> dict[str, UnseenGain]:
    masks = masks or [np.ones(len(c), bool) for c in folds]
    found = leave_domains_out(folds, [NAME], settings, 0, masks, **rest)
    return {gain.kind: gain for gain in found.gains[NAME]}


def list_unknown(folds, **rest) -> dict[str, str]:
    masks = [np.ones(len(c), bool) for c in folds]
    return leave_domains_out(folds, [NAME], SETTINGS, 0, masks, **rest).unknown


def count_pairs(fakes, reals) -> float:
    """AUC by comparing every fake with every real."""
    pairs = fakes[:, None] - reals[None]
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def subtract(columns, fakes, reals) -> float:
    """AUC of the first backbone minus that of the second, on these rows."""
    ours, theirs = columns.logits[:, 0], columns.logits[:, 1]
    return count_pairs(ours[fakes], ours[reals]) - count_pairs(theirs[fakes], theirs[reals])


# --- figures


def test_differences_are_those_worked_out_by_hand(ledger):
    """Two folds, three generators, two sources; every domain counts the same."""
    folds = [
        name_rows(draw_columns(0, 20, 31), 3, 2),
        name_rows(draw_columns(1, 41, 20, seed=50), 3, 2),
    ]
    found = leave(folds)
    parts = split_inner(folds, 3, 0)
    by_generator, by_source, by_both = [], [], []
    for turn in range(3):
        own = []
        for c, part in zip(folds, parts, strict=True):
            reals = (c.labels == 0) & (part == turn)
            own.append(subtract(c, c.domains == f"gen {turn}", reals))
        by_generator.append(np.mean(own))
    for turn in range(2):
        own = []
        for c, part in zip(folds, parts, strict=True):
            of_source = c.sources == f"cam {turn}"
            fakes = (c.labels == 1) & ((part == turn) | of_source)
            own.append(subtract(c, fakes, (c.labels == 0) & of_source))
        by_source.append(np.mean(own))
    for turn in range(3):
        own = [
            subtract(
                c, c.domains == f"gen {turn}", (c.labels == 0) & (c.sources == f"cam {turn % 2}")
            )
            for c in folds
        ]
        by_both.append(np.mean(own))
    assert list(found) == [GENERATORS, SOURCES, BOTH]
    for kind, wanted in ((GENERATORS, by_generator), (SOURCES, by_source), (BOTH, by_both)):
        gain = found[kind]
        assert gain.domains == len(wanted)
        assert gain.difference == pytest.approx(np.mean(wanted))
        assert gain.worst_difference == pytest.approx(min(wanted))
        assert gain.low < gain.difference < gain.high
    assert found[GENERATORS].worst == f"gen {np.argmin(by_generator)}"
    assert found[SOURCES].worst == f"cam {np.argmin(by_source)}"
    turn = int(np.argmin(by_both))
    assert found[BOTH].worst == f"gen {turn} against cam {turn % 2}"


def test_more_domains_than_parts_are_judged_one_by_one(ledger):
    columns = name_rows(draw_columns(reals=140, fakes=120), sources=7)
    gain = leave([columns])[SOURCES]
    assert gain.domains == 7
    assert len(ledger.learned) == SETTINGS.inner_folds


def draw_uneven(sources: int, rows: int) -> FoldColumns:
    """The candidate sees through every second source, and is blind to the others."""
    columns = name_rows(draw_columns(reals=rows * sources, fakes=300), sources=sources)
    even = np.array([int(name[4:]) % 2 == 0 for name in columns.sources])
    signs = 2.0 * columns.labels - 1
    noise = np.random.default_rng(0).normal(size=(2, len(signs)))
    ours = np.where((columns.labels == 0) & ~even, 1.5, 2 * signs) + noise[0]
    return replace(columns, logits=np.stack([ours, signs + noise[1]], axis=1))


def test_the_interval_widens_with_fewer_domains_not_with_fewer_rows(ledger):
    widths = {}
    for sources, rows in ((2, 30), (2, 240), (16, 30)):
        gain = leave([draw_uneven(sources, rows)])[SOURCES]
        assert gain.worst_difference < gain.low < gain.difference < gain.high or sources == 2
        widths[sources, rows] = gain.high - gain.low
    assert widths[2, 30] > 1.8 * widths[16, 30]
    assert widths[2, 240] > 0.75 * widths[2, 30]


def test_groups_are_resampled_within_domains(ledger):
    once = name_rows(draw_columns(reals=120, fakes=120), sources=2)
    twice = once.take(np.repeat(np.arange(240), 2))
    loose = replace(twice, groups=np.arange(480))
    wide, narrow = (leave([c])[SOURCES] for c in (twice, loose))
    assert wide.high - wide.low > 1.15 * (narrow.high - narrow.low)


def test_equal_sides_differ_by_nothing(ledger):
    columns = name_rows(draw_columns(), 2, 2)
    same = replace(columns, logits=np.repeat(columns.logits[:, :1], 3, axis=1))
    for gain in leave([same]).values():
        assert (gain.difference, gain.low, gain.high, gain.worst_difference) == (0, 0, 0, 0)


def test_the_same_seed_gives_the_same_figures(ledger):
    columns = name_rows(draw_columns(), 3, 3)
    masks = [np.ones(200, bool)]
    found = [leave_domains_out([columns], [NAME], SETTINGS, seed, masks) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


# --- who learns from what


@pytest.mark.parametrize("groups", ["single", "mixed"])
@pytest.mark.parametrize("kind", [GENERATORS, SOURCES, BOTH])
def test_neither_side_learns_from_the_domain_or_the_groups_it_is_judged_on(ledger, kind, groups):
    counts = {"generators": 3 * (kind != SOURCES), "sources": 3 * (kind != GENERATORS)}
    folds = [
        name_rows(draw_columns(0, 150, 150), **counts, groups=groups),
        name_rows(draw_columns(1, 150, 150, seed=50), **counts, groups=groups),
    ]
    assert kind in leave(folds)
    turns = list(ledger.list_turns())[-3:]
    for place, (learned, scored) in enumerate(turns):
        for c in folds:
            fit, held = (
                np.array([(c.fold, int(row)) in rows for row in c.row_ids])
                for rows in (learned, scored)
            )
            generator, source = c.domains == f"gen {place}", c.sources == f"cam {place}"
            reals, fakes = c.labels == 0, c.labels == 1
            assert not (fit & held).any()
            assert not set(c.groups[fit]) & set(c.groups[held])
            assert fit[reals].any()
            assert fit[fakes].any()
            if kind != SOURCES:
                assert not fit[generator].any()
                assert held[generator].any()
                assert not held[fakes & ~generator].any()
            if kind != GENERATORS:
                assert not fit[source].any()  # its fakes neither
                assert held[reals & source].any()
                assert not held[reals & ~source].any()
            if groups == "single":  # nothing else is lost
                wanted = {GENERATORS: ~generator, SOURCES: ~source, BOTH: ~generator & ~source}
                spared = {GENERATORS: reals, SOURCES: fakes, BOTH: np.zeros(300, bool)}[kind]
                left = wanted[kind] & ~(spared & held)
                np.testing.assert_array_equal(fit, left)
    if kind != BOTH:  # each turn is held against other rows of the class that loses no domain
        assert not set.intersection(*(scored for _, scored in turns))


def test_every_domain_is_held_out_once(ledger):
    columns = name_rows(draw_columns(reals=150, fakes=150), generators=5)
    leave([columns])
    fakes = set(columns.row_ids[columns.labels == 1])
    scored = [row for rows in ledger.scored for _, row in rows if row in fakes]
    assert sorted(scored) == sorted(fakes)


def test_only_rows_of_the_masks_are_scored_and_the_others_are_learned_from(ledger):
    columns = name_rows(draw_columns(reals=150, fakes=150), 2, 2)
    mask = np.arange(300) % 2 == 0
    assert list(leave([columns], masks=[mask])) == [GENERATORS, SOURCES, BOTH]
    scored = {row for rows in ledger.scored for _, row in rows}
    learned = {row for rows in ledger.learned for _, row in rows}
    assert scored <= set(columns.row_ids[mask])
    assert set(columns.row_ids[~mask]) <= learned


# --- which kinds there are


@pytest.mark.parametrize(
    ("generators", "sources", "kinds"),
    [
        (0, 0, []),
        (1, 1, []),
        (2, 0, [GENERATORS]),
        (2, 1, [GENERATORS]),
        (0, 2, [SOURCES]),
        (1, 2, [SOURCES]),
        (2, 2, [GENERATORS, SOURCES, BOTH]),
    ],
)
def test_a_kind_needs_two_domains(ledger, generators, sources, kinds):
    assert list(leave([name_rows(draw_columns(), generators, sources)])) == kinds


def test_nothing_is_known_where_a_fold_names_nothing(ledger):
    named = name_rows(draw_columns(0), 2, 2)
    unnamed = replace(named, fold=1, domains=None, sources=None)
    assert leave([named, unnamed]) == {}
    assert ledger.learned == []


def test_unnamed_rows_are_of_no_domain(ledger):
    columns = name_rows(draw_columns(reals=150, fakes=150), 2, 2)
    some = np.arange(300) % 3 == 0
    columns = replace(
        columns,
        domains=np.where(some, "", columns.domains),
        sources=np.where(some, "", columns.sources),
    )
    found = leave([columns])
    assert {kind: gain.domains for kind, gain in found.items()} == {
        GENERATORS: 2,
        SOURCES: 2,
        BOTH: 2,
    }
    unnamed = set(columns.row_ids[some & (columns.labels == 0)])
    for _, scored in list(ledger.list_turns())[2:4]:
        assert not {row for _, row in scored} & unnamed


def test_sources_of_fakes_alone_are_no_sources_of_reals(ledger):
    columns = name_rows(draw_columns(), 0, 2)
    fakes = columns.labels == 1
    one = replace(columns, sources=np.where(fakes, columns.sources, "cam 0").astype(object))
    assert leave([one]) == {}


def test_a_domain_without_which_a_class_is_gone_is_passed_over(ledger):
    columns = name_rows(draw_columns(0), 3)
    fakes = columns.labels == 1
    one = replace(columns, fold=1, domains=np.where(fakes, "gen 0", "").astype(object))
    assert leave([columns, one])[GENERATORS].domains == 2
    two = replace(name_rows(draw_columns(0), 2))
    assert leave([two, one]) == {}  # one alone is too few


def test_held_out_rows_are_no_domains(ledger):
    columns = name_rows(draw_columns(), 2)
    with pytest.raises((LeakageError, AttributeError)):
        leave([hold_out(columns)])


def test_several_candidates_share_the_turns(ledger):
    columns = name_rows(draw_columns(), 2, 2)
    found = leave_domains_out([columns], [NAME, "other"], SETTINGS, 0, [np.ones(200, bool)])
    turns = len(ledger.learned)
    assert (
        found.gains[NAME]
        == leave_domains_out([columns], [NAME], SETTINGS, 0, [np.ones(200, bool)]).gains[NAME]
    )
    assert len(ledger.learned) == 2 * turns
    assert {gain.difference for gain in found.gains["other"]} == {0.0}  # it is the simple side


def test_what_could_not_be_left_out_is_named_with_the_reason(ledger):
    assert list_unknown([name_rows(draw_columns(), 2, 2)]) == {}
    assert list_unknown([name_rows(draw_columns(), 1)]) == {
        "generators": "data.columns.generator names fewer than two",
        SOURCES: "data.columns.source names fewer than two",
    }
    assert list_unknown([name_rows(draw_columns(), 2, 1)]).keys() == {SOURCES}


def test_groups_that_mix_all_domains_leave_nothing_to_score(ledger):
    """Each group holds reals and fakes of both generators and both sources."""
    columns = name_rows(draw_columns(reals=80, fakes=80), 2, 2)
    places = [np.flatnonzero(columns.labels == label) for label in (0, 1)]
    groups = np.empty(160, np.int64)
    for own in places:
        groups[own] = np.arange(80) // 2
    unknown = list_unknown([replace(columns, groups=groups)])
    assert unknown.keys() == {BOTH}
    assert unknown[BOTH].startswith("their groups hold rows of others")


def test_a_class_that_would_be_gone_is_the_reason(ledger):
    two = name_rows(draw_columns(0), 2)
    one = replace(two, fold=1, domains=np.where(two.labels == 1, "gen 0", "").astype(object))
    unknown = list_unknown([two, one])
    assert unknown["generators"].startswith("without some of them a fold has rows of one class")


# --- clusters in place of sources


@pytest.fixture
def clustered(monkeypatch) -> list[int]:
    """How many clusters were asked for; reals are of them in turn."""
    asked = []

    def cluster(folds, count, settings, seed):
        asked.append(count)
        found = []
        for c in folds:
            names = np.full(len(c), "", object)
            reals = c.labels == 0
            names[reals] = [f"cluster {i % count + 1}" for i in range(reals.sum())]
            found.append(replace(c, sources=names))
        return found

    monkeypatch.setattr(unseen, "cluster_reals", cluster)
    return asked


def test_clusters_are_off_unless_asked_for(ledger, clustered):
    assert leave([name_rows(draw_columns(), 2)]).keys() == {GENERATORS}
    assert leave([draw_columns()], pseudo_sources=None) == {}
    assert clustered == []


def test_clusters_stand_for_sources_and_are_called_clusters(ledger, clustered):
    folds = [name_rows(draw_columns(), 2)]
    found = leave(folds, pseudo_sources=4)
    assert clustered == [4]
    assert list_unknown(folds, pseudo_sources=4).keys() == {SOURCES}
    together = "generators and clusters of reals"
    assert list(found) == [GENERATORS, "clusters of reals", together]
    assert found["clusters of reals"].domains == 4
    assert found["clusters of reals"].worst.startswith("cluster ")
    for gain in found.values():
        assert "source" not in gain.describe()
    assert found["clusters of reals"].describe().endswith("on 4 clusters of reals left out")


def test_named_sources_need_no_clusters(ledger, clustered):
    assert list(leave([name_rows(draw_columns(), 0, 2)], pseudo_sources=4)) == [SOURCES]
    assert clustered == []


def test_without_embeddings_clusters_are_said_to_be_missing(ledger):
    columns = name_rows(draw_columns(), 2)
    none = np.empty((len(columns), 0), np.float16)
    bare = replace(columns, embeddings=(none,) * 3)
    assert leave([bare], pseudo_sources=4).keys() == {GENERATORS}
    assert list_unknown([bare], pseudo_sources=4) == {
        SOURCES: "data.columns.source names fewer than two, and gate.pseudo_sources finds no "
        "clusters: too few reals, or no embeddings"
    }


# --- how it is said


def test_a_gain_is_said_with_its_interval_and_comes_back_from_json():
    gain = UnseenGain(SOURCES, 4, -0.027, -0.0411, -0.0102, "phone", -0.06)
    assert gain.describe() == "-0.0270 [-0.0411, -0.0102] on 4 sources of reals left out"
    assert UnseenGain.from_json(json.loads(json.dumps(asdict(gain)))) == gain
