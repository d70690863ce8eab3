"""The named columns that LightGBM models see: which there are, and who learned from which rows."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import (
    BACKBONES,
    draw_columns,
    draw_grouped,
    draw_noise,
    hold_out,
    is_null,
    list_groups,
    spare,
)

from features.errors import AlignmentError, ConfigError, LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns import basis
from stage2_ensemble.columns.basis import LEAST_GROUPS, fit_basis
from stage2_ensemble.columns.feature_matrix import FeatureMatrix, choose_names
from stage2_ensemble.columns.projection import Distance, Projection

SETTINGS = Stack(inner_folds=3, pca_components=3)
POOLED = ("logit:net-a", "logit:net-b", "logit:net_c", "spread", "margin")
DISTANCES = tuple(f"distance:{backbone}" for backbone in BACKBONES)
EXTRAS = ("forensic:blur", "forensic:noise")


def fit(*folds, components=False, columns=("*",), seed=0):
    settings = SETTINGS.model_copy(update={"columns": columns})
    return FeatureMatrix.fit(folds, settings, components, fit_basis(folds, settings, seed))


def add_extras(columns, names=EXTRAS):
    """A column for each name, that says its own number and the row's."""
    rows = np.arange(len(columns), dtype=np.float32)
    values = np.stack([rows + 1000 * EXTRAS.index(name) for name in names], axis=1)
    return replace(columns, extras=values, extra_names=tuple(names))


def keep_places(columns, places, names=None):
    """The backbones at `places`, under other `names`."""
    return replace(
        columns,
        backbones=names or tuple(columns.backbones[p] for p in places),
        logits=columns.logits[:, places],
        embeddings=tuple(columns.embeddings[p] for p in places),
    )


@pytest.fixture(scope="module")
def columns():
    return draw_columns()


# --- which columns there are


def add_crops(columns, backbone="net-b"):
    """What this backbone says of several crops: a highest log-odds and a spread of each row."""
    rows = np.arange(len(columns), dtype=np.float64)
    peaks = np.stack([rows, rows / 10], axis=1)
    return replace(columns, crop_logits=tuple(
        peaks if name == backbone else None for name in columns.backbones
    ))  # fmt: skip


def test_what_crops_say_apart_are_columns_of_their_backbone(columns):
    crops = add_crops(columns)
    table, rows = fit(crops)
    assert table.names == (*POOLED, "logit_max:net-b", "logit_spread:net-b", *DISTANCES)
    np.testing.assert_allclose(rows[:, 5:7], crops.crop_logits[1], rtol=1e-6)
    np.testing.assert_array_equal(table.build(crops.take(np.arange(9)))[:, 5:7], rows[:9, 5:7])
    assert fit(crops, columns=("*", "!logit_*"))[0].names == (*POOLED, *DISTANCES)
    assert "logit_max:net-b" in fit(crops.without("net-a"))[0].names
    assert "logit_max:net-b" not in fit(crops.without("net-b"))[0].names
    with pytest.raises(AlignmentError, match="no logit_max:net-b"):
        table.build(columns)


def test_columns_are_named_after_what_they_hold(columns):
    table, rows = fit(add_extras(columns))
    assert table.names == (*POOLED, *DISTANCES, *EXTRAS)
    logits = columns.logits
    wanted = [*logits.T, logits.std(axis=1), logits.max(axis=1) - logits.min(axis=1)]
    np.testing.assert_allclose(rows[:, :5], np.stack(wanted, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 8], np.arange(200))
    np.testing.assert_array_equal(rows[:, 9], np.arange(200) + 1000)


def test_components_stand_with_the_distance_of_their_backbone(columns):
    table, rows = fit(columns, components=True)
    own = [(f"distance:{b}", *(f"pca:{b}:{i}" for i in range(3))) for b in BACKBONES]
    assert table.names == (*POOLED, *own[0], *own[1], *own[2])
    for i, axes in enumerate(table.axes[0]):
        wanted = axes.projection.apply(columns.embeddings[i])
        np.testing.assert_array_equal(rows[:, 6 + 4 * i : 9 + 4 * i], wanted)
    np.testing.assert_array_equal(table.build(hold_out(columns))[:, 6:9], rows[:, 6:9])


def test_one_backbone_has_no_spread_and_no_margin(columns):
    table, rows = fit(keep_places(columns, [1]))
    assert table.names == ("logit:net-b", "distance:net-b")
    assert rows.shape == (200, 2)


def test_rows_of_several_folds_stand_below_each_other(columns):
    other = draw_columns(1, seed=50)
    table, rows = fit(columns, other)
    alone = [fit(c) for c in (columns, other)]
    np.testing.assert_array_equal(rows, np.concatenate([found for _, found in alone]))
    assert set(table.axes) == {0, 1}
    for c, (single, _) in zip((columns, other), alone, strict=True):
        np.testing.assert_array_equal(table.build(c), single.build(c))


@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("patterns", [("*",), ("logit:*",), ("margin", "!spread")])
def test_tables_are_float32_row_after_row(columns, extras, patterns):
    wide = add_extras(columns) if extras else columns
    table, rows = fit(wide, components=True, columns=patterns)
    for found in (rows, table.build(wide), table.build(wide.take(np.arange(0)))):
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert found.shape[1] == len(table.names)


# --- patterns


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (("*",), (*POOLED, *EXTRAS)),
        (("logit:*",), POOLED[:3]),
        (("logit:net-?", "margin"), ("logit:net-a", "logit:net-b", "margin")),
        (("margin", "logit:*"), (*POOLED[:3], "margin")),  # in the order of the table
        (("!forensic:*",), POOLED),
        (("*", "!forensic:*"), POOLED),
        (("!forensic:*", "*"), POOLED),
        (("forensic:*", "!*:blur"), ("forensic:noise",)),
        (("!*net*", "!spread"), ("margin", *EXTRAS)),
        (("forensic:BLUR", "spread"), ("spread",)),
        (("blur", "spread"), ("spread",)),
    ],
)
def test_patterns_choose_columns(columns, patterns, wanted):
    assert choose_names((*POOLED, *EXTRAS), patterns) == wanted
    few = add_extras(columns.take(np.arange(40)), EXTRAS)
    whole, all_rows = fit(few)
    table, rows = fit(few, columns=patterns)
    assert [name for name in table.names if name not in DISTANCES] == list(wanted)
    places = [whole.names.index(name) for name in table.names]
    np.testing.assert_array_equal(rows, all_rows[:, places])
    np.testing.assert_array_equal(table.build(few), whole.build(few)[:, places])


@pytest.mark.parametrize("patterns", [("!*",), ("blur",), ("logit:*", "!*net*"), ("pca:*",)])
def test_patterns_that_leave_nothing_are_refused(columns, patterns):
    with pytest.raises(ConfigError, match=r"stack\.columns .*fits none of logit:net-a, logit"):
        fit(columns, columns=patterns)


def test_components_alone_are_enough_where_there_are_some(columns):
    assert len(fit(columns, components=True, columns=("pca:*",))[0].names) == 9


# --- distances


class Spy:
    """Notes from which rows each distance was fitted, and which it scored."""

    def __init__(self, monkeypatch, columns, projection):
        rows = projection.apply(columns.embeddings[0])
        self._ids = {row.tobytes(): i for row, i in zip(rows, columns.row_ids, strict=True)}
        assert len(self._ids) == len(columns)
        self.scored: list[tuple[set[int], set[int]]] = []
        """Rows scored, rows that the model learned from."""
        spy = self

        class Watched(Distance):
            @classmethod
            def fit(cls, components, labels):
                model = super().fit(components, labels)
                object.__setattr__(model, "learned", spy.name(components))
                return model

            def score(self, components):
                spy.scored.append((spy.name(components), self.learned))
                return super().score(components)

        monkeypatch.setattr(basis, "Distance", Watched)

    def name(self, rows) -> set[int]:
        return {self._ids[row.tobytes()] for row in rows}


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_learned_from_have_distances_of_other_groups(monkeypatch, seed):
    columns = keep_places(draw_grouped(), [1])
    spy = Spy(monkeypatch, columns, Projection.fit(columns.embeddings[0], 3, seed))
    table, rows = fit(columns, seed=seed)
    assert sorted(i for scored, _ in spy.scored for i in scored) == columns.row_ids.tolist()
    assert len(spy.scored) == SETTINGS.inner_folds
    for scored, learned in spy.scored:
        assert scored | learned == set(columns.row_ids)
        assert not list_groups(columns, scored) & list_groups(columns, learned)
    spy.scored.clear()
    new = table.build(hold_out(columns))
    assert spy.scored == [(set(columns.row_ids), set(columns.row_ids))]  # all rows, for new ones
    assert (new[:, 1] != rows[:, 1]).all()


def test_distances_of_new_rows_are_those_of_all_rows(columns):
    table, _ = fit(columns)
    new = draw_columns(seed=7)
    found = table.build(hold_out(new))
    for i in range(3):
        projection = Projection.fit(columns.embeddings[i], 3, 0)
        model = Distance.fit(projection.apply(columns.embeddings[i]), columns.labels)
        wanted = model.score(projection.apply(new.embeddings[i]))
        np.testing.assert_allclose(found[:, 5 + i], wanted, rtol=1e-6)


def draw_distances(columns, include_itself: bool) -> np.ndarray:
    """Distances by the embedding of the first backbone; with all components, as leaks like it."""
    settings = Stack(inner_folds=8, pca_components=40, columns=("distance:net-a",))
    table, rows = FeatureMatrix.fit([columns], settings, False, fit_basis([columns], settings, 0))
    return (table.build(columns) if include_itself else rows)[:, 0]


@pytest.mark.parametrize("seed", range(8))
def test_distances_know_nothing_where_labels_mean_nothing(seed):
    columns = draw_noise(seed=100 * seed, width=40)
    assert is_null(columns.labels, draw_distances(columns, include_itself=False))
    assert not is_null(columns.labels, draw_distances(columns, include_itself=True))


def test_distances_that_ignore_groups_are_found_out():
    once = draw_noise(width=40)
    columns = once.take(np.repeat(np.arange(200), 4))
    loose = replace(columns, groups=np.arange(800))
    assert is_null(once.labels, draw_distances(columns, include_itself=False)[::4])
    assert not is_null(once.labels, draw_distances(loose, include_itself=False)[::4])


def draw_few(groups: int, fold: int = 0):
    """40 reals and 60 fakes; the reals are of so many groups."""
    columns = draw_columns(fold, 40, 60, seed=fold)
    numbers = np.where(columns.labels == 1, np.arange(100), 1000 + np.arange(100) % groups)
    return replace(columns, groups=numbers)


def test_few_groups_of_a_class_have_no_distances():
    assert LEAST_GROUPS == 10
    assert fit(draw_few(10))[0].names == (*POOLED, *DISTANCES)
    few = draw_few(9)
    for flipped in (few, replace(few, labels=1 - few.labels)):
        table, rows = fit(flipped)
        assert table.names == POOLED
        assert rows.shape == table.build(flipped).shape == (100, 5)
        assert fit(flipped, components=True)[0].names[5:7] == ("pca:net-a:0", "pca:net-a:1")


@pytest.mark.parametrize("order", [(9, 10), (10, 9)])
def test_a_distance_that_one_fold_cannot_have_is_in_none(order):
    folds = [add_extras(draw_few(groups, fold)) for fold, groups in enumerate(order)]
    table, rows = fit(*folds)
    assert table.names == (*POOLED, *EXTRAS)
    assert rows.shape == (200, 7)
    for columns, part in zip(folds, (rows[:100], rows[100:]), strict=True):
        np.testing.assert_array_equal(table.build(columns), part)


def test_more_inner_folds_than_groups_are_cut_down():
    settings = SETTINGS.model_copy(update={"inner_folds": 12})
    few = [draw_few(11)]
    table, _ = FeatureMatrix.fit(few, settings, False, fit_basis(few, settings, 0))
    assert table.names == (*POOLED, *DISTANCES)


# --- alignment and leakage


@pytest.mark.fault(
    "columns in another order, or missing, when rows are scored",
    "found by name; missing ones are an error",
    "Numbers and memory",
)
def test_extras_are_known_by_their_names(columns):
    table, rows = fit(add_extras(columns), columns=("forensic:*",))
    moved = add_extras(columns, EXTRAS[::-1])
    np.testing.assert_array_equal(table.build(moved), rows)
    with pytest.raises(AlignmentError, match="no forensic:blur"):
        table.build(add_extras(columns, EXTRAS[1:]))
    with pytest.raises(AlignmentError, match="no forensic:blur, forensic:noise"):
        table.build(columns)


def test_extras_that_were_not_there_at_the_fit_are_left_out(columns):
    table, _ = fit(columns)
    np.testing.assert_array_equal(table.build(add_extras(columns)), table.build(columns))


def test_components_that_are_not_there_are_missed(columns):
    table, _ = fit(columns, components=True)
    other, _ = fit(columns.take(np.arange(8)), components=True)  # two components
    with pytest.raises(AlignmentError, match=r"no .*pca:net-a:2"):
        replace(table, axes=other.axes).build(columns)


@pytest.mark.fault("columns in another order, or missing, when rows are scored")
@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([1, 0, 2], None),
        ([0, 1], None),
        ([0, 1, 2], ("net-a", "net-b", "other")),
        ([0, 1, 2, 2], (*BACKBONES, "other")),
    ],
    ids=["permuted", "missing", "renamed", "added"],
)
def test_other_backbones_are_refused(columns, places, names):
    table, _ = fit(columns)
    with pytest.raises(AlignmentError, match="backbones of the table"):
        table.build(keep_places(columns, places, names))


def test_another_fold_is_refused(columns):
    table, _ = fit(columns)
    with pytest.raises(AlignmentError, match=r"found 1, wanted \[0\]"):
        table.build(replace(columns, fold=1))


def test_other_widths_are_refused(columns):
    table, _ = fit(columns)
    narrow = replace(columns, embeddings=tuple(e[:, :-1] for e in columns.embeddings))
    with pytest.raises(AlignmentError, match="widths"):
        table.build(narrow)


def test_nothing_is_fitted_on_rows_that_are_held_out(columns):
    held = hold_out(draw_columns(1))
    spared = spare(columns)
    for forbidden in (held, spared):
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            fit(columns, forbidden)


def lose_rows(columns, rows):
    """The columns with a first member that has said nothing of these rows."""
    logits, first = columns.logits.copy(), columns.embeddings[0].copy()
    logits[rows, 0], first[rows] = np.nan, np.nan
    return replace(columns, logits=logits, embeddings=(first, *columns.embeddings[1:]))


def test_what_was_not_scored_is_missing_in_its_own_columns_alone():
    whole = draw_columns(reals=60, fakes=90)
    rows = np.arange(0, len(whole), 7)
    columns = lose_rows(whole, rows)
    table, matrix = fit(columns, components=True)
    missing = {name: np.flatnonzero(np.isnan(matrix[:, i])) for i, name in enumerate(table.names)}
    own = [n for n in missing if n in (f"logit:{BACKBONES[0]}", f"distance:{BACKBONES[0]}")]
    own += [n for n in missing if n.startswith(f"pca:{BACKBONES[0]}:")]
    assert len(own) == 5
    for name, places in missing.items():
        assert places.tolist() == (rows.tolist() if name in own else [])
    spread = matrix[:, table.names.index("spread")]
    margin = matrix[:, table.names.index("margin")]
    rest = whole.logits[rows][:, 1:]
    np.testing.assert_allclose(spread[rows], rest.std(axis=1), rtol=1e-6)
    np.testing.assert_allclose(margin[rows], np.ptp(rest, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(table.build(hold_out(columns)).shape, matrix.shape)


def test_a_member_without_an_embedding_has_neither_distance_nor_components():
    columns = draw_columns(reals=60, fakes=90)
    none = np.empty((len(columns), 0), np.float16)
    columns = replace(columns, embeddings=(none, *columns.embeddings[1:]))
    table, matrix = fit(columns, components=True)
    assert not [n for n in table.names if BACKBONES[0] in n and not n.startswith("logit:")]
    assert np.isfinite(matrix).all()
    assert np.isfinite(table.build(hold_out(columns))).all()


def test_an_embedding_of_too_few_rows_is_no_distance():
    whole = draw_columns(reals=60, fakes=90)
    columns = lose_rows(whole, np.arange(8, len(whole)))
    table, _ = fit(columns)
    assert f"distance:{BACKBONES[0]}" not in table.names
    assert f"distance:{BACKBONES[1]}" in table.names
