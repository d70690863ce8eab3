"""The gate: what may ship, what may not, and what cannot be told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_axes, draw_columns, draw_noise

from features.errors import ConfigError
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.gate import differences, gate, unseen
from stage2_ensemble.gate.gate import (
    LOST,
    RISK,
    UNDECIDED,
    WON,
    WORSE,
    Verdict,
    check_ship,
    choose_shipped,
    describe_choice,
    hold_gate,
)
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, Judged, judge_candidates
from stage2_ensemble.gate.unseen import Unseen, UnseenGain
from stage2_ensemble.models import candidates

SETTINGS = Stack(
    inner_folds=3,
    repeats=1,
    candidates=("lightgbm",),
    bags=1,
    pca_components=2,
    max_rounds=15,
    learning_rate=0.1,
    num_leaves=7,
    min_data_in_leaf=20,
    feature_fraction=0.5,
    lambda_l2=1.0,
)
EAGER = SETTINGS.model_copy(update={"max_rounds": 60, "learning_rate": 0.2})
NAME = "lightgbm"


def hold(folds, settings=SETTINGS, seed=0, margin=0.0005, **rest) -> list[Verdict]:
    judged = judge_candidates(folds, settings, seed)
    return hold_gate(folds, judged, settings, Gate(margin=margin, **rest), seed)


def list_unseen(verdict: Verdict) -> dict[str, UnseenGain]:
    return {gain.kind: gain for gain in verdict.unseen}


def compare(
    folds: list[FoldColumns],
    simple: list[np.ndarray],
    own: list[np.ndarray],
    margin: float = 0.0,
    declared: tuple[str, ...] = (NAME,),
) -> Verdict:
    """The verdict on LightGBM by its `own` scores and those of the best simple combiner."""
    settings = SETTINGS.model_copy(update={"candidates": declared})
    sides = dict.fromkeys((BEST_SIMPLE, "mean"), simple) | dict.fromkeys(declared, own)
    judged = Judged(sides, {})
    return hold_gate(folds, judged, settings, Gate(margin=margin), 0)[0]


def draw_scores(columns: FoldColumns, gain: float, noise: float = 0.3, seed: int = 0):
    """Scores of the best simple one, and others whose signal is stronger by `gain`."""
    signs = 2.0 * columns.labels - 1
    shared, a, b = np.random.default_rng(seed).normal(size=(3, len(signs)))
    return [signs + shared + noise * a], [(1 + gain) * signs + shared + noise * b]


def compare_drawn(reals: int, fakes: int, gain: float, noise: float = 0.3, **rest) -> Verdict:
    columns = draw_columns(reals=reals, fakes=fakes)
    return compare([columns], *draw_scores(columns, gain, noise), **rest)


# --- noise and signal


@pytest.mark.scale
def test_of_a_hundred_worlds_of_noise_five_at_most_ship():
    shipped = []
    for seed in range(100):
        verdict = hold([draw_noise(reals=60, fakes=90, seed=1000 + seed)], seed=seed)[0]
        if verdict.ships:
            shipped.append((seed, verdict.describe()))
    assert len(shipped) <= 5, shipped


def draw_equals(groups: int, rows: int, seed: int):
    """Two scorers that are equally good, on so many groups of either class, of `rows` rows each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], groups * rows).astype(np.int8)
    own = np.repeat(np.arange(2 * groups), rows)
    columns = replace(draw_columns(0, groups * rows, groups * rows), labels=labels, groups=own)
    shape = (2, 2 * groups)
    ours, theirs = (
        labels + 0.5 * rng.normal(size=shape)[:, own] + 0.8 * rng.normal(size=(2, len(labels)))
    )
    return [replace(columns, embeddings=())], [ours], [theirs]


def test_few_groups_fool_the_gate_no_more_often_than_its_risk(monkeypatch):
    """Plain percentiles of five groups took an equal for the better one 38 times in 500."""
    monkeypatch.setattr(differences, "RESAMPLES", 300)
    worlds = (draw_equals(5, 10, seed) for seed in range(500))
    fooled = sum(differences.compare_fold_aucs(*world, RISK / 2, 0).low > 0 for world in worlds)
    assert fooled <= 1.5 * RISK / 2 * 500


def test_of_many_groups_the_interval_is_that_of_percentiles():
    world = draw_equals(800, 1, 0)
    gain = differences.compare_fold_aucs(*world, RISK / 2, 0)
    plain = np.quantile(differences.draw_differences(*world, 0), [RISK / 2, 1 - RISK / 2])
    np.testing.assert_allclose([gain.low, gain.high], plain, atol=2e-4)


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_mean_nothing_ship_nothing(seed):
    (verdict,) = hold([draw_noise(reals=60, fakes=90, seed=seed)], seed=seed)
    assert verdict.outcome in ("lost", "too few rows to tell")


def test_the_plain_mean_must_be_worse_too():
    """The best simple combiner was chosen within training parts, which noise turns against it."""
    columns = draw_columns(reals=300, fakes=300)
    simple, own = draw_scores(columns, 0.5)
    sides = {BEST_SIMPLE: simple, "mean": own, NAME: own}
    (verdict,) = hold_gate([columns], Judged(sides, {}), SETTINGS, Gate(margin=0.0), 0)
    assert verdict.low > 0 >= verdict.mean_low
    assert verdict.outcome == "lost"
    assert "against the plain mean +0.0000 at least" in verdict.describe()


def draw_interaction(fold: int = 0, seed: int = 0) -> FoldColumns:
    """Fakes are where two of the backbones agree in sign, which no simple combiner can say."""
    rng = np.random.default_rng(seed)
    columns = draw_columns(fold, 150, 150, seed=seed)
    logits = rng.normal(size=(300, 3)) * 2
    agree = logits[:, 0] * logits[:, 1] > 0
    logits[:, 1] *= np.where(agree == (columns.labels == 1), 1, -1)
    return replace(columns, logits=logits, embeddings=draw_noise(0, 150, 150, seed).embeddings)


@pytest.mark.parametrize("seed", range(2))
def test_a_real_interaction_ships(seed):
    settings = EAGER.model_copy(update={"columns": ("logit:*",)})
    (verdict,) = hold([draw_interaction(seed=seed)], settings, seed)
    assert verdict.outcome == "won"
    assert verdict.difference > 0.3
    assert verdict.low > 0.2


def test_what_embeddings_know_beyond_the_logits_ships(monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_ROWS", 50)
    settings = EAGER.model_copy(update={"candidates": (NAME, "lightgbm_pca")})
    verdicts = hold([draw_columns(0), draw_columns(1, seed=50)], settings)
    assert [v.name for v in verdicts] == [NAME, "lightgbm_pca"]
    assert [v.outcome for v in verdicts] == ["won", "won"]


def test_what_they_do_not_know_ships_nothing():
    # Logits alone, and a linear rule is right: LightGBM can only lose.
    folds = [draw_columns(k, hidden=0.0, seed=50 * k) for k in (0, 1)]
    (verdict,) = hold(folds, EAGER)
    assert not verdict.ships
    assert verdict.difference < 0.01


# --- the verdict on given scores


@pytest.mark.parametrize("margin", [0.0, 0.0005, 0.1])
def test_equal_scores_never_ship(margin):
    columns = draw_columns()
    scores = [columns.logits[:, 0]]
    verdict = compare([columns], scores, scores, margin)
    assert (verdict.difference, verdict.low, verdict.high) == (0, 0, 0)
    assert verdict.outcome == "lost"


@pytest.mark.parametrize(
    ("gain", "rows", "outcome"),
    [
        (1.0, 100, "won"),
        (-0.5, 100, "lost"),
        (0.1, 25, "too few rows to tell"),
        (-0.02, 25, "too few rows to tell"),
    ],
)
def test_lost_is_not_too_few_rows_to_tell(gain, rows, outcome):
    verdict = compare_drawn(rows, rows, gain, noise=0.5)
    assert verdict.outcome == outcome
    assert verdict.low <= verdict.difference <= verdict.high
    assert verdict.ships == (outcome == "won") == (verdict.low > 0)
    assert (outcome == "lost") == (verdict.high <= 0)


def test_more_rows_tell():
    assert compare_drawn(15, 15, 0.3).outcome == "too few rows to tell"
    assert compare_drawn(400, 400, 0.3).outcome == "won"


def test_the_margin_counts():
    verdict = compare_drawn(80, 120, 1.0)
    low, high, tell = verdict.low, verdict.high, "too few rows to tell"
    wanted = {low - 1e-9: "won", low: tell, high - 1e-9: tell, high: "lost"}
    for margin, outcome in wanted.items():
        again = compare_drawn(80, 120, 1.0, margin=margin)
        assert replace(again, unknown={}) == replace(verdict, outcome=outcome, unknown={})
    assert Gate().margin == 0.0005


def test_more_declared_candidates_widen_the_interval(monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_ROWS", 10)
    fields = (NAME,), (NAME, "random_forest"), (NAME, "lightgbm_pca", "random_forest")
    found = [compare_drawn(80, 120, 0.3, declared=names) for names in fields]
    assert len({v.difference for v in found}) == 1
    assert found[0].low > found[1].low > found[2].low
    assert found[0].high < found[1].high < found[2].high


def test_candidates_that_the_rows_do_not_suffice_for_cost_nothing():
    declared = (NAME, "lightgbm_pca")
    assert compare_drawn(80, 120, 0.3, declared=declared) == compare_drawn(80, 120, 0.3)


def test_one_in_twenty_of_equals_ships(monkeypatch):
    """Two scores of which neither is better: the risk is 5 %, on the one side that counts."""
    monkeypatch.setattr(differences, "RESAMPLES", 400)
    won = lost = 0
    columns = draw_columns(reals=60, fakes=90)
    for seed in range(150):
        verdict = compare([columns], *draw_scores(columns, 0.0, noise=1.0, seed=seed))
        won, lost = won + (verdict.low > 0), lost + (verdict.high < 0)
    assert RISK == 0.05
    assert 2 <= won <= 15
    assert 2 <= lost <= 15


def test_groups_are_resampled_not_rows():
    half = draw_columns(reals=100, fakes=150)
    twice = np.repeat(np.arange(250), 2)
    scores = [[s[0][twice]] for s in draw_scores(half, 0.3, noise=1.0)]
    pairs = half.take(twice)
    loose = replace(pairs, groups=np.arange(500))
    wide, narrow = (compare([columns], *scores) for columns in (pairs, loose))
    assert wide.difference == narrow.difference
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(np.sqrt(2), rel=0.08)


def test_folds_count_the_same_and_are_never_pooled():
    folds = [draw_columns(0, 40, 60), draw_columns(1, 200, 300, seed=9)]
    scores = [draw_scores(folds[0], 1.0), draw_scores(folds[1], -0.2)]
    single = [compare([c], *s) for c, s in zip(folds, scores, strict=True)]
    simple, own = ([s[i][0] for s in scores] for i in (0, 1))
    both = compare(folds, simple, [own[0], own[1] + 100])  # another scale is no matter
    assert both.difference == pytest.approx(np.mean([v.difference for v in single]))
    width, other = (v.high - v.low for v in single)
    assert both.high - both.low == pytest.approx(np.hypot(width, other) / 2, rel=0.1)


def test_the_same_seed_gives_the_same_verdict():
    columns = draw_noise(reals=60, fakes=90)
    judged = judge_candidates([columns], SETTINGS, 0)
    found = [hold_gate([columns], judged, SETTINGS, Gate(), seed)[0] for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0].mean_low != found[2].mean_low


def test_no_candidate_no_verdict():
    columns = draw_columns(reals=20, fakes=20)
    none = SETTINGS.model_copy(update={"candidates": ()})
    assert hold([columns], none) == []


# --- generators that nobody learned from


def draw_domains(leaning: bool) -> list[FoldColumns]:
    """Two generators that the members see alike.

    Leaning: a forensic column shows fakes of both, but at opposite ends, so that what tells the one
    is wrong about the other. Otherwise it shows both at the same end.
    """
    rng = np.random.default_rng(9)
    columns = draw_columns(reals=100, fakes=200, hidden=0.0)
    fakes = np.flatnonzero(columns.labels == 1)
    domains = np.full(300, "", object)
    domains[fakes[:100]], domains[fakes[100:]] = "gan", "diffusion"
    ends = {"": 0.0, "gan": 3.0, "diffusion": -3.0 if leaning else 3.0}
    mark = np.array([ends[d] for d in domains]) + rng.normal(size=300)
    extras = mark[:, None].astype(np.float32)
    return [replace(columns, domains=domains, extras=extras, extra_names=("forensic:mark",))]


def test_what_leans_on_what_one_generator_shows_is_worse_on_unseen_ones():
    (verdict,) = hold(draw_domains(leaning=True), EAGER)
    assert verdict.outcome == "worse on unseen generators"
    assert not verdict.ships
    assert verdict.low > 0.0005
    (gain,) = verdict.unseen
    assert (gain.kind, gain.domains) == ("generators", 2)
    assert gain.difference < -0.05
    assert gain.describe() in verdict.describe()


def test_what_both_generators_show_ships():
    (verdict,) = hold(draw_domains(leaning=False), EAGER)
    assert verdict.outcome == "won"
    assert verdict.unseen[0].difference > 0.02


@pytest.mark.parametrize("known", ["none", "one", "unnamed"])
def test_without_two_generators_there_is_no_such_difference(known):
    (columns,) = draw_domains(leaning=True)
    domains = {
        "none": None,
        "one": np.where(columns.domains == "gan", "gan", "").astype(object),
        "unnamed": np.full(300, "", object),
    }[known]
    (verdict,) = hold([replace(columns, domains=domains)], EAGER)
    assert verdict.unseen == ()
    assert verdict.outcome == "won"


# --- sources of reals that nobody learned from

CAMERAS = 6


def draw_cameras(fold: int = 0, seed: int = 0, generators: int = 1) -> FoldColumns:
    """Reals of six cameras, each with a noise level of its own; fakes have any level.

    A level at which no camera was seen speaks for a fake; of a new camera it does so wrongly.
    Embeddings tell the cameras apart as well, by axes of their own in each fold.
    """
    rng = np.random.default_rng([9, seed])
    columns = draw_columns(fold, 240, 240, seed=seed)
    fakes = columns.labels == 1
    cameras = rng.integers(CAMERAS, size=480)
    level = np.where(
        fakes, rng.uniform(-1, CAMERAS, 480), cameras + rng.normal(scale=0.12, size=480)
    )
    embeddings = []
    for place in range(3):
        inner = rng.normal(size=(480, 10))
        inner[~fakes, :CAMERAS] += 9 * np.eye(CAMERAS)[cameras[~fakes]]
        embeddings.append((inner @ draw_axes(100 * place + fold)).astype(np.float16))
    made_by = [f"gen {i % generators}" for i in range(480)]
    return replace(
        columns,
        logits=0.3 * (2 * columns.labels[:, None] - 1) + rng.normal(size=(480, 3)),
        embeddings=tuple(embeddings),
        extras=level[:, None].astype(np.float32),
        extra_names=("forensic:noise:level",),
        domains=np.where(fakes, made_by, "").astype(object),
        sources=np.where(fakes, "", [f"camera {i}" for i in cameras]).astype(object),
    )


def forget_sources(folds) -> list[FoldColumns]:
    return [replace(columns, sources=None) for columns in folds]


LEVELS = EAGER.model_copy(update={"columns": ("logit:*", "forensic:*"), "pca_components": 8})
"""Without what embeddings say, which is more than noise levels do."""


def test_cameras_that_were_learned_by_heart_keep_it_at_home_only_where_they_are_named():
    """The gain out of fold is large: each camera has rows on either side of the split.

    A gate that looks at the rows of all domains, or at generators besides, ships this model
    (+0.1043 [+0.0811, +0.1258]); of a new camera's pictures it tells fewer from fakes than the
    simple combiner does (-0.3124 [-0.3891, -0.2428]).
    """
    folds = [draw_cameras(0), draw_cameras(1, seed=50)]
    (unaware,) = hold(forget_sources(folds), LEVELS)
    assert unaware.outcome == "won"
    assert unaware.low > 0.05
    assert choose_shipped([unaware], "logistic") == NAME

    (verdict,) = hold(folds, LEVELS)
    assert verdict.outcome == "worse on unseen sources of reals"
    assert verdict.difference == unaware.difference
    assert choose_shipped([verdict], "logistic") == "logistic"
    (gain,) = verdict.unseen
    assert (gain.kind, gain.domains) == ("sources of reals", CAMERAS)
    assert gain.high < 0
    assert gain.worst.startswith("camera ")
    assert gain.worst_difference < gain.difference < -0.02
    assert "on 6 sources of reals left out: worse on unseen sources" in verdict.describe()


def test_clusters_find_the_cameras_where_none_are_named():
    folds = forget_sources([draw_cameras(0), draw_cameras(1, seed=50)])
    (verdict,) = hold(folds, LEVELS, pseudo_sources=CAMERAS)
    assert verdict.outcome == "worse on unseen clusters of reals"
    (gain,) = verdict.unseen
    assert (gain.kind, gain.domains) == ("clusters of reals", CAMERAS)
    assert gain.high < 0
    assert "source" not in verdict.describe()
    assert not verdict.ships


def test_generators_sources_and_both_at_once_are_left_out():
    (verdict,) = hold([draw_cameras(generators=2)], LEVELS)
    found = list_unseen(verdict)
    assert list(found) == ["generators", "sources of reals", "generators and sources of reals"]
    assert found["generators"].difference > 0  # both have any level
    assert found["sources of reals"].high < 0
    assert found["generators and sources of reals"].difference < -0.02
    assert verdict.outcome == "worse on unseen sources of reals"


def test_what_all_cameras_have_in_common_ships():
    columns = draw_cameras()
    rng = np.random.default_rng(1)
    level = 2 * columns.labels + rng.normal(size=480)
    honest = replace(columns, extras=level[:, None].astype(np.float32))
    (verdict,) = hold([honest], LEVELS)
    assert verdict.outcome == "won"
    assert verdict.unseen[0].low > 0


# --- the verdict on given differences of unseen domains


def give_gain(difference: float, kind: str = "generators") -> UnseenGain:
    return UnseenGain(
        kind, 3, difference, difference - 0.1, difference + 0.1, "gan", difference - 0.01
    )


def give_unseen(gains, **unknown: str) -> Unseen:
    return Unseen({NAME: tuple(gains)}, unknown)


def test_what_has_not_won_needs_no_domains(monkeypatch):
    columns = draw_domains(leaning=True)
    monkeypatch.setattr(unseen, "fit_candidates", lambda *args: pytest.fail("fitted"))
    assert compare(columns, *draw_scores(columns[0], -0.3)).unseen == ()


@pytest.mark.parametrize("kind", WORSE)
def test_a_small_loss_on_unseen_domains_is_within_the_margin(monkeypatch, kind):
    columns = draw_domains(leaning=False)
    scores = draw_scores(columns[0], 1.5)
    for found, outcome in ((-0.01, WON), (-0.02, WON), (-0.03, WORSE[kind])):
        gains = (give_gain(0.1), give_gain(found, kind), give_gain(0.2))
        monkeypatch.setattr(gate, "leave_domains_out", lambda *args, own=gains: give_unseen(own))
        verdict = compare(columns, *scores, margin=0.02)
        assert (verdict.unseen, verdict.outcome) == (gains, outcome)
        assert verdict.ships == (outcome == WON)


def test_of_several_losses_the_first_is_named(monkeypatch):
    columns = draw_domains(leaning=False)
    gains = (give_gain(0.1), *(give_gain(-0.1, kind) for kind in list(WORSE)[1:]))
    monkeypatch.setattr(gate, "leave_domains_out", lambda *args: give_unseen(gains))
    verdict = compare(columns, *draw_scores(columns[0], 1.5))
    assert verdict.outcome == "worse on unseen sources of reals"


def test_settings_of_the_gate_reach_what_is_left_out(monkeypatch):
    columns = draw_halved()
    asked = []

    def leave(*args):
        asked.append(args)
        return give_unseen(())

    monkeypatch.setattr(gate, "leave_domains_out", leave)
    simple = [columns.logits[:, 0]]
    judged = Judged({BEST_SIMPLE: simple, "mean": simple, NAME: [2.0 * columns.labels]}, {})
    for settings in (Gate(), Gate(rows="untuned", pseudo_sources=4)):
        (verdict,) = hold_gate([columns], judged, SETTINGS, settings, 3)
        assert verdict.outcome == WON
    (_, names, _, seed, masks, clusters), (*_, untuned, four) = asked
    assert (names, seed, clusters, four) == ([NAME], 3, None, 4)
    assert masks[0].all()
    np.testing.assert_array_equal(untuned[0], ~columns.tuning)


# --- what ships, and how it is said


def give(name: str, low: float, outcome: str = WON, *gains: UnseenGain) -> Verdict:
    return Verdict(name, low + 0.01, low, low + 0.02, low, outcome, 20, gains)


OTHERWISE = [LOST, UNDECIDED, *WORSE.values()]


def test_the_one_that_has_won_by_most_for_sure_ships():
    lightgbm, forest = give("lightgbm", 0.01), give("random_forest", 0.02)
    assert choose_shipped([lightgbm, forest], "mean") == "random_forest"
    assert choose_shipped([replace(lightgbm, difference=0.5), forest], "mean") == "random_forest"
    assert choose_shipped([lightgbm], "mean") == "lightgbm"


@pytest.mark.parametrize("outcome", OTHERWISE)
def test_otherwise_the_simple_one_ships(outcome):
    assert choose_shipped([], "logistic") == "logistic"
    assert choose_shipped([give("lightgbm", 0.3, outcome)], "logistic") == "logistic"
    both = [give("lightgbm", 0.3, outcome), give("random_forest", 0.01)]
    assert choose_shipped(both, "logistic") == "random_forest"


def test_outcomes_are_told_apart():
    assert len({WON, *OTHERWISE}) == 1 + len(OTHERWISE)


@pytest.mark.parametrize("gains", [(), (give_gain(-1 / 3), give_gain(0.1, "sources of reals"))])
def test_a_verdict_comes_back_from_json(gains):
    verdict = Verdict("lightgbm", 1 / 3, -0.1, 2 / 3, -0.2, UNDECIDED, 20, gains)
    read = json.loads(json.dumps(verdict.to_json()))
    assert read == verdict.to_json()  # nothing in it that JSON turns into something else
    assert Verdict.from_json(read) == verdict


def test_a_verdict_is_said_in_one_line():
    verdict = Verdict("lightgbm", 0.0031, -0.0002, 0.0064, 0.001, UNDECIDED, 20)
    assert verdict.describe() == "lightgbm: +0.0031 [-0.0002, +0.0064]: too few rows to tell"
    gains = (
        UnseenGain("generators", 3, 0.001, -0.002, 0.004, "gan", -0.01),
        UnseenGain("sources of reals", 4, -0.05, -0.07, -0.02, "phone", -0.1),
    )
    worse = replace(verdict, unseen=gains, outcome=WORSE["sources of reals"])
    assert worse.describe() == (
        "lightgbm: +0.0031 [-0.0002, +0.0064], "
        "+0.0010 [-0.0020, +0.0040] on 3 generators left out, "
        "-0.0500 [-0.0700, -0.0200] on 4 sources of reals left out: "
        "worse on unseen sources of reals"
    )


# --- what ships by name


def test_what_will_not_be_fitted_cannot_ship():
    fittable = ["mean", "logistic", "lightgbm"]
    for name in ("auto", *fittable):
        check_ship(name, fittable)
    with pytest.raises(ConfigError) as caught:
        check_ship("lightgbm_pca", fittable)
    text = str(caught.value)
    assert "gate.ship lightgbm_pca: it cannot be fitted; there are mean, logistic, lightgbm" in text
    assert "stack.candidates" in text


def test_names_that_nothing_has_are_no_setting():
    with pytest.raises(ValueError, match="ship"):
        Gate(ship="xgboost")
    with pytest.raises(ValueError, match="pseudo_sources"):
        Gate(pseudo_sources=1)
    assert (Gate().ship, Gate().pseudo_sources) == ("auto", None)


def test_what_ships_against_the_gate_is_said():
    verdicts = [give("lightgbm", -0.1, LOST)]
    (said,) = describe_choice(verdicts, "greedy", "lightgbm")
    assert said == "the gate chose greedy; lightgbm ships because gate.ship names it"
    assert describe_choice(verdicts, "greedy", "greedy") == []


def test_domains_that_could_not_be_left_out_are_said_to_be_unknown():
    unknown = {"sources of reals": "data.columns.source names fewer than two"}
    verdict = replace(give(NAME, 0.1, WON, give_gain(0.1)), unknown=unknown)
    assert describe_choice([verdict], NAME, NAME) == [
        "how lightgbm does on other sources of reals is not known: "
        "data.columns.source names fewer than two"
    ]
    assert describe_choice([give(NAME, 0.1, WON)], NAME, NAME) == []
    assert describe_choice([replace(verdict, outcome=LOST)], "mean", "mean") == []


@pytest.mark.parametrize("rows", ["all", "untuned"])
def test_a_verdict_by_few_groups_comes_with_a_caution(rows):
    columns = draw_halved()
    by_few = replace(columns, groups=columns.groups % 10 + 20 * columns.labels, extras=None)
    own = columns.logits[:, 0]
    groups = {"all": 10, "untuned": 5}[rows]
    (said,) = describe_choice([judge(by_few, own, rows)], "mean", "mean")
    assert said.startswith("the gate's intervals are not to be relied on")
    assert said.endswith(f"as a fold has but {groups} groups of a class")
    assert describe_choice([judge(columns, own, rows)], "mean", "mean") == []


# --- settings that half of the rows chose


def draw_halved(seed: int = 0) -> FoldColumns:
    columns = draw_columns(reals=120, fakes=180, seed=seed)
    return replace(columns, tuning=columns.groups % 2 == 0)


def judge(columns, own, rows, margin=0.0) -> Verdict:
    simple = {key: [columns.logits[:, 0]] for key in (BEST_SIMPLE, "mean")}
    judged = Judged(simple | {NAME: [own]}, {})
    return hold_gate([columns], judged, SETTINGS, Gate(margin=margin, rows=rows), 0)[0]


def test_rows_that_settings_were_tuned_on_decide_nothing():
    columns = draw_halved()
    signs = 2.0 * columns.labels - 1
    flattered = np.where(columns.tuning, signs, columns.logits[:, 0])
    assert judge(columns, flattered, "all").outcome == "won"
    verdict = judge(columns, flattered, "untuned")
    assert (verdict.difference, verdict.low, verdict.outcome) == (0, 0, "lost")
    honest = np.where(columns.tuning, -signs, signs)
    assert judge(columns, honest, "all").outcome == "lost"
    assert judge(columns, honest, "untuned").outcome == "won"


def test_a_verdict_on_the_other_half_is_one_on_its_rows_alone():
    columns = draw_halved()
    own = columns.logits[:, 1]
    rest = columns.take(~columns.tuning)
    wanted = judge(rest, own[~columns.tuning], "all")
    assert judge(columns, own, "untuned") == wanted


def test_the_risk_is_shared_by_all_that_are_declared_whoever_is_judged():
    columns = draw_halved()
    both = SETTINGS.model_copy(update={"candidates": (NAME, "random_forest")})
    simple = {key: [columns.logits[:, 0]] for key in (BEST_SIMPLE, "mean")}
    judged = Judged(simple | {NAME: [columns.logits[:, 1]]}, {})
    alone, shared = (hold_gate([columns], judged, s, Gate(), 0) for s in (SETTINGS, both))
    assert [v.name for v in shared] == [NAME]
    assert shared[0].low < alone[0].low
