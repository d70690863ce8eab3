"""Which rows of val a person gets to see."""

from collections import Counter

import numpy as np

from stage2_ensemble.gallery.choosing import (
    BY_CHANCE,
    DISAGREEMENT,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    NEAR_THRESHOLD,
    SAME_PICTURE,
    WORST,
    ValScores,
    choose_shown,
)


def draw_rows(n: int = 5000, seed: int = 0) -> ValScores:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.6).astype(np.int8)
    return ValScores(
        labels=labels,
        log_odds=3.0 * labels - 1.5 + rng.normal(0, 1.5, n),
        threshold=0.2,
        disagreement=rng.random(n),
        generators=np.array([f"g{i % 5}" if y else "" for i, y in enumerate(labels)], object),
        has_pair=rng.random(n) < 0.01,
    )


def list_rows(chosen: dict[int, str], reason: str) -> list[int]:
    return [row for row, why in chosen.items() if why == reason]


def test_reasons_get_their_shares():
    chosen = choose_shown(draw_rows(), 200)
    shares = Counter(chosen.values())
    assert len(chosen) == 200
    assert shares[BY_CHANCE] == 50
    assert shares[FALSE_POSITIVE] == shares[FALSE_NEGATIVE] == 40
    assert shares[DISAGREEMENT] == shares[NEAR_THRESHOLD] == shares[WORST] == 20
    assert shares[SAME_PICTURE] == 10


def test_mistakes_are_the_most_confident_ones_that_chance_left():
    rows = draw_rows()
    chosen = choose_shown(rows, 200)
    found = list_rows(chosen, FALSE_POSITIVE)
    wrong = np.flatnonzero((rows.labels == 0) & (rows.log_odds >= rows.threshold))
    left = [row for row in wrong if chosen.get(row) != BY_CHANCE]
    assert sorted(found) == sorted(sorted(left, key=lambda row: -rows.log_odds[row])[:40])
    missed = list_rows(chosen, FALSE_NEGATIVE)
    assert (rows.labels[missed] == 1).all()
    assert (rows.log_odds[missed] < rows.threshold).all()


def test_rows_drawn_by_chance_know_nothing_of_the_scores():
    rows = draw_rows()
    others = ValScores(**{**vars(rows), "log_odds": -rows.log_odds, "labels": 1 - rows.labels})
    first, second = (list_rows(choose_shown(r, 200), BY_CHANCE) for r in (rows, others))
    assert first == second


def test_every_generator_shows_its_worst():
    rows = draw_rows()
    chosen = choose_shown(rows, 200)
    for name in (f"g{i}" for i in range(5)):
        own = np.flatnonzero(np.array(rows.generators) == name)
        assert own[np.argmin(rows.log_odds[own])] in chosen


def test_without_mistakes_chance_fills_the_room():
    rows = draw_rows()
    perfect = ValScores(
        **{
            **vars(rows),
            "log_odds": np.where(rows.labels == 1, 9.0, -9.0),
            "disagreement": np.zeros(len(rows)),
            "has_pair": np.zeros(len(rows), bool),
        }
    )
    counts = Counter(choose_shown(perfect, 200).values())
    assert counts == {BY_CHANCE: 160, NEAR_THRESHOLD: 20, WORST: 20}


def test_small_vals_are_shown_whole_and_none_as_nothing():
    assert sorted(choose_shown(draw_rows(30), 200)) == list(range(30))
    assert choose_shown(draw_rows(0), 200) == {}
    assert choose_shown(draw_rows(30), 0) == {}
