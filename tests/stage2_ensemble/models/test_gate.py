"""The gate: what may ship, what may not, and what cannot be told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_columns, draw_noise, list_groups

from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.models import candidates, gate
from stage2_ensemble.models.gate import RISK, Verdict, choose_shipped, hold_gate
from stage2_ensemble.models.out_of_fold import BEST_SIMPLE, Judged, Pick, judge_candidates

SETTINGS = Stack(
    inner_folds=3,
    repeats=1,
    candidates=("lightgbm",),
    bags=1,
    pca_components=2,
    max_rounds=15,
)
EAGER = SETTINGS.model_copy(update={"max_rounds": 30, "learning_rate": 0.2, "num_leaves": 7})
NAME = "lightgbm"


def hold(folds, settings=SETTINGS, seed=0, margin=0.0005) -> list[Verdict]:
    return hold_gate(
        folds, judge_candidates(folds, settings, seed), settings, Gate(margin=margin), seed
    )


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


@pytest.mark.slow
def test_of_a_hundred_worlds_of_noise_five_at_most_ship():
    shipped = []
    for seed in range(100):
        verdict = hold([draw_noise(reals=60, fakes=90, seed=1000 + seed)], seed=seed)[0]
        if verdict.ships:
            shipped.append((seed, verdict.describe()))
    assert len(shipped) <= 5, shipped


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
        assert again == replace(verdict, outcome=outcome)
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


def test_one_in_twenty_of_equals_ships():
    """Two scores of which neither is better: the risk is 5 %, on the one side that counts."""
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
    assert found[0].low != found[2].low


def test_no_candidate_no_verdict():
    columns = draw_columns(reals=20, fakes=20)
    none = SETTINGS.model_copy(update={"candidates": ()})
    assert hold([columns], none) == []


# --- generators that nobody learned from


def draw_domains(leaning: bool, groups: str = "single") -> list[FoldColumns]:
    """Two generators that the members see alike.

    Leaning: a forensic column shows fakes of both, but at opposite ends, so that what tells the one
    is wrong about the other. Otherwise it shows both at the same end. `groups`: `source` are
    groups of a real and a fake of each generator.
    """
    rng = np.random.default_rng(0)
    columns = draw_columns(reals=100, fakes=200, hidden=0.0)
    fakes = np.flatnonzero(columns.labels == 1)
    domains = np.full(300, "", object)
    domains[fakes[:100]], domains[fakes[100:]] = "gan", "diffusion"
    ends = {"": 0.0, "gan": 3.0, "diffusion": -3.0 if leaning else 3.0}
    mark = np.array([ends[d] for d in domains]) + rng.normal(size=300)
    if groups == "source":
        numbers = np.empty(300, np.int64)
        for name in ends:
            numbers[domains == name] = rng.permutation(100)
        columns = replace(columns, groups=numbers)
    extras = mark[:, None].astype(np.float32)
    return [replace(columns, domains=domains, extras=extras, extra_names=("forensic:mark",))]


def test_what_leans_on_what_one_generator_shows_is_worse_on_unseen_domains():
    (verdict,) = hold(draw_domains(leaning=True), EAGER)
    assert verdict.outcome == "worse on unseen domains"
    assert not verdict.ships
    assert verdict.low > 0.0005
    assert verdict.domains < -0.1


def test_what_both_generators_show_ships():
    (verdict,) = hold(draw_domains(leaning=False), EAGER)
    assert verdict.outcome == "won"
    assert verdict.domains > 0.02


@pytest.mark.parametrize("known", ["none", "one", "unnamed"])
def test_without_two_generators_there_is_no_such_difference(known):
    (columns,) = draw_domains(leaning=True)
    domains = {
        "none": None,
        "one": np.where(columns.domains == "gan", "gan", "").astype(object),
        "unnamed": np.full(300, "", object),
    }[known]
    (verdict,) = hold([replace(columns, domains=domains)], EAGER)
    assert verdict.domains is None
    assert verdict.outcome == "won"


def test_what_has_not_won_needs_no_domains(monkeypatch):
    columns = draw_domains(leaning=True)
    monkeypatch.setattr(gate, "fit_candidate", lambda *args: pytest.fail("fitted"))
    scores = draw_scores(columns[0], -0.3)
    assert compare(columns, *scores).domains is None


def test_a_small_loss_on_unseen_domains_is_within_the_margin(monkeypatch):
    columns = draw_domains(leaning=False)
    scores = draw_scores(columns[0], 1.5)
    for found, outcome in ((-0.01, "won"), (-0.02, "won"), (-0.03, "worse on unseen domains")):
        monkeypatch.setattr(gate, "_leave_domains_out", lambda *args, found=found: found)
        verdict = compare(columns, *scores, margin=0.02)
        assert (verdict.domains, verdict.outcome) == (found, outcome)


@pytest.mark.parametrize("groups", ["single", "source"])
def test_neither_side_learns_from_the_generator_or_the_groups_it_is_judged_on(monkeypatch, groups):
    (columns,) = folds = draw_domains(leaning=True, groups=groups)
    learned, scored, real = [], [], gate.fit_candidate
    row_ids = columns.row_ids

    def fit(name, rest, settings, seed):
        model = real(name, rest, settings, seed)
        learned.append(set(rest[0].row_ids))

        class Watched:
            def score(self, held):
                scored.append((set(rest[0].row_ids), set(held.row_ids)))
                return model.score(held)

        return Watched()

    monkeypatch.setattr(gate, "fit_candidate", fit)
    (verdict,) = hold(folds, EAGER)
    assert verdict.domains is not None
    assert len(learned) == len(scored) == 4  # two generators, two sides
    for i, generator in enumerate(("diffusion", "diffusion", "gan", "gan")):
        rest, held = scored[i]
        own = set(row_ids[columns.domains == generator])
        other = set(row_ids[columns.labels == 1]) - own
        assert not rest & own
        assert not list_groups(columns, rest) & list_groups(columns, held)
        assert len(rest & other) > 60
        assert not held & other
        assert len(held & own) == 100 if groups == "single" else len(held & own) > 25
        assert 30 <= len(held - own) <= 36  # another third of the reals for each generator
    assert not (scored[0][1] & scored[2][1])


def test_a_generator_without_which_no_fakes_are_left_is_passed_over():
    (columns,) = draw_domains(leaning=True)
    domains = np.where(columns.labels == 1, "gan", "").astype(object)
    other = replace(draw_domains(leaning=True)[0], fold=1)
    mixed = [replace(columns, domains=domains), other]
    (verdict,) = hold(mixed, EAGER)
    assert verdict.domains is not None  # by the other generator


def test_the_best_simple_one_of_the_other_generators_is_what_it_is_held_against(monkeypatch):
    folds, fitted = draw_domains(leaning=True), []
    real = gate.fit_candidate

    def fit(name, *rest):
        fitted.append(name)
        return real(name, *rest)

    monkeypatch.setattr(gate, "fit_candidate", fit)
    monkeypatch.setattr(gate, "pick_simple", lambda *args: Pick("rank_mean"))
    hold(folds, EAGER)
    assert fitted == ["rank_mean", NAME] * 2


# --- what ships, and how it is said


def give(name: str, low: float, outcome: str = "won") -> Verdict:
    return Verdict(name, low + 0.01, low, low + 0.02, low, None, outcome)


def test_the_one_that_has_won_by_most_for_sure_ships():
    lightgbm, forest = give("lightgbm", 0.01), give("random_forest", 0.02)
    assert choose_shipped([lightgbm, forest], "mean") == "random_forest"
    assert choose_shipped([replace(lightgbm, difference=0.5), forest], "mean") == "random_forest"
    assert choose_shipped([lightgbm], "mean") == "lightgbm"


@pytest.mark.parametrize("outcome", ["lost", "too few rows to tell", "worse on unseen domains"])
def test_otherwise_the_simple_one_ships(outcome):
    assert choose_shipped([], "logistic") == "logistic"
    assert choose_shipped([give("lightgbm", 0.3, outcome)], "logistic") == "logistic"
    both = [give("lightgbm", 0.3, outcome), give("random_forest", 0.01)]
    assert choose_shipped(both, "logistic") == "random_forest"


@pytest.mark.parametrize("domains", [None, -0.1234567890123])
def test_a_verdict_comes_back_from_json(domains):
    verdict = Verdict("lightgbm", 1 / 3, -0.1, 2 / 3, -0.2, domains, "too few rows to tell")
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_a_verdict_is_said_in_one_line():
    verdict = Verdict("lightgbm", 0.0031, -0.0002, 0.0064, 0.001, None, "too few rows to tell")
    assert verdict.describe() == "lightgbm: +0.0031 [-0.0002, +0.0064]: too few rows to tell"
    unseen = replace(verdict, domains=-0.05, outcome="worse on unseen domains")
    assert unseen.describe() == (
        "lightgbm: +0.0031 [-0.0002, +0.0064], -0.0500 on generators left out: "
        "worse on unseen domains"
    )


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


def test_unseen_generators_are_scored_on_the_other_half_alone(monkeypatch):
    columns = draw_halved()
    generators = np.where(columns.labels == 1, np.where(columns.groups % 3, "a", "b"), "")
    columns = replace(columns, domains=generators.astype(object))
    seen = []

    def measure(folds, scores):
        seen.extend(c.row_ids for c in folds if c.domains is not None)
        return [0.5 for _ in folds]

    monkeypatch.setattr(gate, "measure_fold_aucs", measure)
    masks = [~columns.tuning]
    assert gate._leave_domains_out([columns], NAME, SETTINGS, 0, masks) == 0
    assert set(np.concatenate(seen)) <= set(columns.row_ids[~columns.tuning])


def test_the_risk_is_shared_by_all_that_are_declared_whoever_is_judged():
    columns = draw_halved()
    both = SETTINGS.model_copy(update={"candidates": (NAME, "random_forest")})
    simple = {key: [columns.logits[:, 0]] for key in (BEST_SIMPLE, "mean")}
    judged = Judged(simple | {NAME: [columns.logits[:, 1]]}, {})
    alone, shared = (hold_gate([columns], judged, s, Gate(), 0) for s in (SETTINGS, both))
    assert [v.name for v in shared] == [NAME]
    assert shared[0].low < alone[0].low
