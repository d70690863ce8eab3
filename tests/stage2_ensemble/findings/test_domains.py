"""Which rows stand against which: planted scores whose AUC by generator and domain is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_rows

from features.core.auc import compare_aucs, measure_auc
from features.core.manifest import Manifest
from stage2_ensemble.findings.domains import (
    compare_rows,
    find_rows,
    measure_domains,
    measure_generators,
)

NONE = {"auc": None, "auc_low": None, "auc_high": None}


def draw_val(*parts):
    """Val rows of `(count, label, generator, domain)` each, in groups of one."""
    counts = [part[0] for part in parts]
    columns = [np.repeat([part[i] for part in parts], counts) for i in (1, 2, 3)]
    labels, n = columns[0], sum(counts)
    table = draw_rows(labels, np.arange(n), np.full(n, -1), 0)
    table = table.assign(generator=columns[1].astype(object), domain=columns[2].astype(object))
    return Manifest("val", table, "v" * 64)


def draw_scores(val, strengths, seed=0):
    """Normal scores; fakes of a generator lie `strengths[generator]` above the reals."""
    shift = [strengths.get(g, 0.0) for g in val.table["generator"]]
    return np.random.default_rng(seed).normal(size=len(val)) + shift * val.labels


SEEN_AND_NEW = (
    (60, 0, "", "seen"),
    (80, 1, "old", "seen"),
    (50, 1, "new", "unseen"),
    (40, 1, "moved", "held_out"),
)


def test_fakes_of_each_domain_stand_against_the_seen_reals():
    val = draw_val(*SEEN_AND_NEW)
    scores = draw_scores(val, {"old": 2.0, "new": 1.0, "moved": 0.5})
    null = draw_scores(val, {"moved": 3.0}, seed=1)
    generators = measure_generators(scores, null, val)
    domains = measure_domains(scores, null, val)
    assert list(generators) == ["moved", "new", "old"]
    for name, domain, fakes in (
        ("old", "seen", 80), ("new", "unseen", 50), ("moved", "held_out", 40),
    ):  # fmt: skip
        rows = (val.labels == 0) | (val.table["generator"] == name).to_numpy()
        wanted = {
            **measure_auc(val.labels[rows], scores[rows], val.groups[rows]).to_metrics(),
            "null_auc": pytest.approx(roc_auc_score(val.labels[rows], null[rows])),
            "reals": 60,
            "fakes": fakes,
            "groups": 60 + fakes,
            "reliable": True,
        }
        text = f"{fakes} fakes of {name} against 60 seen reals"
        assert generators[name] == {**wanted, "domain": domain, "against": text}
        text = f"{fakes} {domain.replace('_', '-')} fakes against 60 seen reals"
        assert domains[domain] == {**wanted, "against": text}
    assert generators["moved"]["null_auc"] > 0.9 > 0.6 > generators["new"]["null_auc"]


def test_the_gap_is_seen_minus_all_others_and_knows_that_they_share_reals():
    val = draw_val(*SEEN_AND_NEW)
    scores = draw_scores(val, {"old": 2.0, "new": 0.5, "moved": 0.5})
    gap = measure_domains(scores, scores, val)["gap"]
    seen = (val.table["domain"] == "seen").to_numpy()
    others = ~seen | (val.labels == 0)
    aucs = [roc_auc_score(val.labels[rows], scores[rows]) for rows in (seen, others)]
    assert gap["auc"] == pytest.approx(aucs[0] - aucs[1])
    assert gap["auc"] > gap["auc_low"] > 0
    found = compare_aucs(val.labels, val.groups, scores, scores, seen, others)
    assert {k: gap[k] for k in NONE} == found.to_metrics()
    assert gap["against"] == (
        "80 seen fakes against 60 seen reals, minus 50 unseen fakes against 60 seen reals "
        "and 40 held-out fakes against 60 seen reals"
    )


def test_the_gap_is_negative_where_new_generators_are_easier():
    val = draw_val(*SEEN_AND_NEW)
    scores = draw_scores(val, {"old": 0.3, "new": 3.0, "moved": 3.0})
    gap = measure_domains(scores, scores, val)["gap"]
    assert gap["auc"] < gap["auc_high"] < 0


def test_a_held_out_set_of_both_classes_is_scored_within_itself():
    val = draw_val(*SEEN_AND_NEW[:2], (30, 0, "", "held_out"), (20, 1, "old", "held_out"))
    scores = draw_scores(val, {"old": 2.0})
    held = (val.table["domain"] == "held_out").to_numpy()
    scores[held] = -scores[held]
    domains = measure_domains(scores, scores, val)
    found = domains["held_out"]
    assert found["against"] == "20 held-out fakes against 30 held-out reals"
    assert found["auc"] == pytest.approx(roc_auc_score(val.labels[held], scores[held]))
    assert found["auc"] < 0.2
    assert domains["gap"]["auc"] > 0.6


def test_a_few_held_out_reals_do_not_take_the_place_of_the_seen_ones():
    """Unseen fakes have none of their own; beside them two held-out reals are not all there is."""
    val = draw_val(*SEEN_AND_NEW[:3], (2, 0, "", "held_out"), (20, 1, "old", "held_out"))
    scores = draw_scores(val, {"old": 2.0, "new": 1.0})
    gap = measure_domains(scores, scores, val)["gap"]
    seen = (val.table["domain"] == "seen").to_numpy()
    others = ~seen | (val.labels == 0)
    aucs = [roc_auc_score(val.labels[rows], scores[rows]) for rows in (seen, others)]
    assert gap["auc"] == pytest.approx(aucs[0] - aucs[1])


def test_a_generator_in_two_domains_has_two_entries():
    val = draw_val(*SEEN_AND_NEW[:2], (30, 0, "", "held_out"), (20, 1, "old", "held_out"))
    scores = draw_scores(val, {"old": 2.0})
    found = measure_generators(scores, scores, val)
    assert list(found) == ["old (held-out)", "old (seen)"]
    assert [found[name]["domain"] for name in found] == ["held_out", "seen"]
    text = "20 fakes of old (held-out) against 60 seen reals"
    assert found["old (held-out)"]["against"] == text


def test_a_source_of_reals_alone_stands_against_the_seen_fakes():
    val = draw_val(*SEEN_AND_NEW[:2], (25, 0, "camera", "held_out"))
    scores = draw_scores(val, {"old": 2.0})
    scores[140:] += 9  # reals of the new camera look fakest of all
    found = measure_generators(scores, scores, val)["camera"]
    assert found["against"] == "25 reals of camera against 80 seen fakes"
    assert (found["auc"], found["reals"], found["fakes"]) == (0.0, 25, 80)
    domains = measure_domains(scores, scores, val)
    assert domains["held_out"]["against"] == "25 held-out reals against 80 seen fakes"
    assert domains["gap"]["auc"] == pytest.approx(domains["seen"]["auc"])


def test_a_generator_of_both_classes_is_scored_within_itself():
    val = draw_val(*SEEN_AND_NEW[:2], (25, 0, "site", "unseen"), (1, 1, "site", "unseen"))
    scores = draw_scores(val, {"old": 2.0})
    found = measure_generators(scores, scores, val)["site"]
    assert found["against"] == "1 fake of site against 25 reals of site"
    assert found["auc"] is not None
    assert found["auc_low"] is None  # one fake says nothing about others


def test_without_anything_unseen_there_is_no_gap():
    val = draw_val(*SEEN_AND_NEW[:2])
    scores = draw_scores(val, {"old": 2.0})
    assert set(measure_domains(scores, scores, val)) == {"seen"}


def test_without_seen_rows_of_a_class_there_is_no_auc_and_no_gap():
    val = draw_val((60, 0, "", "seen"), (50, 1, "new", "unseen"))
    scores = draw_scores(val, {"new": 1.0})
    domains = measure_domains(scores, scores, val)
    assert set(domains) == {"seen", "unseen"}
    assert {k: domains["seen"][k] for k in NONE} == NONE
    assert domains["seen"]["against"] == "60 seen reals against 0 seen fakes"
    assert domains["unseen"]["auc"] > 0.6
    val = draw_val((60, 0, "camera", "unseen"), (50, 1, "new", "unseen"))
    domains = measure_domains(scores, scores, val)
    assert set(domains) == {"unseen"}
    found = measure_generators(scores, scores, val)["new"]
    assert found["against"] == "50 fakes of new against 0 seen reals"
    assert {k: found[k] for k in NONE} == NONE
    assert found["null_auc"] is None


def test_without_generators_there_are_none():
    val = draw_val((6, 0, "", "seen"), (5, 1, "", "seen"))
    assert measure_generators(np.zeros(11), np.zeros(11), val) == {}


def test_names_of_generators_are_taken_as_they_are():
    val = draw_val((6, 0, "", "seen"), (5, 1, "{noun} %s [b]", "unseen"))
    found = measure_generators(np.zeros(11), np.zeros(11), val)["{noun} %s [b]"]
    assert found["against"] == "5 fakes of {noun} %s [b] against 6 seen reals"


def test_groups_are_respected():
    val = draw_val(*SEEN_AND_NEW)
    scores = draw_scores(val, {"old": 1.0, "new": 1.0, "moved": 1.0})
    grouped = Manifest("val", val.table.assign(group=np.arange(len(val)) // 10), val.digest)
    one = measure_domains(scores, scores, val)
    other = measure_domains(scores, scores, grouped)
    for key in ("seen", "unseen", "held_out", "gap"):
        assert one[key]["auc"] == other[key]["auc"]
        assert one[key]["auc_low"] != other[key]["auc_low"]


def test_rows_of_a_comparison():
    val = draw_val(*SEEN_AND_NEW)
    found = compare_rows(find_rows(val, "unseen"), val, before="unseen ")
    assert found.rows.tolist() == [True] * 60 + [False] * 80 + [True] * 50 + [False] * 40
    assert (found.reals, found.fakes) == (60, 50)
