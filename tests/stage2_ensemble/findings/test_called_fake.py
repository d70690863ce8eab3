"""Which rows are called fake, by source and generator: planted rates, order, false alarms."""

import numpy as np
import pytest
from synthetic_world import draw_rows

from features.core.manifest import Manifest
from stage2_ensemble.findings.called_fake import measure_called_fake
from stage2_ensemble.measures.shares import estimate_share
from stage2_ensemble.sentences.called_fake import is_any_worse


def draw_val(*parts, rows_a_group=1):
    """Val rows of `(rows, label, source, generator, called)` each; the first are called fake."""
    counts = [part[0] for part in parts]
    labels, sources, generators = (
        np.repeat([part[i] for part in parts], counts).astype(kind)
        for i, kind in ((1, np.int8), (2, object), (3, object))
    )
    n = sum(counts)
    table = draw_rows(labels, np.arange(n) // rows_a_group, np.full(n, -1), 0)
    called = np.concatenate([np.arange(part[0]) < part[4] for part in parts])
    return called, Manifest("val", table.assign(source=sources, generator=generators), "v" * 64)


def list_names(entries):
    return [entry["name"] for entry in entries]


PHONES = (
    (200, 0, "camera", "", 20),
    (100, 0, "phone", "", 20),
    (30, 0, "", "", 0),
    (150, 1, "camera", "gan", 120),
    (50, 1, "phone", "warp", 20),
)


def test_reals_that_are_called_fake_twice_as_often_come_first():
    called, val = draw_val(*PHONES)
    found = measure_called_fake(called, val)["reals"]
    assert list_names(found["sources"]) == ["phone", "camera"]
    assert found["generators"] == []
    assert {k: found["all"][k] for k in ("called_fake", "rows", "groups")} == {
        "called_fake": pytest.approx(40 / 330), "rows": 330, "groups": 330,
    }  # fmt: skip
    phone = found["sources"][0]
    own = (val.table["source"] == "phone").to_numpy() & (val.labels == 0)
    share = estimate_share(called[own], val.groups[own])
    shared = estimate_share(called[own], val.groups[own], level=0.975)
    assert phone == {
        "name": "phone", "called_fake": 0.2, "called_fake_low": share.low,
        "called_fake_high": share.high, "rows": 100, "groups": 100,
        "shared_low": shared.low, "shared_high": shared.high,
    }  # fmt: skip
    assert phone["shared_low"] < phone["called_fake_low"] < 0.2


def test_fakes_that_are_found_least_come_first_by_generator_and_by_source():
    called, val = draw_val(*PHONES)
    found = measure_called_fake(called, val)["fakes"]
    assert list_names(found["generators"]) == ["warp", "gan"]
    assert list_names(found["sources"]) == ["phone", "camera"]
    assert found["all"]["called_fake"] == pytest.approx(140 / 200)
    assert [entry["called_fake"] for entry in found["generators"]] == [0.4, 0.8]
    assert is_any_worse("fakes", "generators", found)


def test_a_few_rows_do_not_come_first_by_chance():
    called, val = draw_val(*PHONES, (1, 0, "one", "", 1), (3, 0, "three", "", 2))
    found = measure_called_fake(called, val)["reals"]["sources"]
    assert list_names(found) == ["phone", "camera", "three", "one"]
    assert (found[3]["called_fake"], found[3]["shared_low"]) == (1.0, None)


def test_rows_of_a_group_count_together():
    called, val = draw_val(*PHONES)
    wide = measure_called_fake(*draw_val(*PHONES, rows_a_group=10))["reals"]["sources"][0]
    narrow = measure_called_fake(called, val)["reals"]["sources"][0]
    assert (wide["name"], wide["groups"]) == ("phone", 10)
    assert wide["shared_low"] < narrow["shared_low"]


def test_sources_of_fakes_that_are_their_generators_are_not_listed_twice():
    parts = [(50, 0, "car", "", 5), (50, 0, "cat", "", 5)]
    called, val = draw_val(*parts, (50, 1, "car", "car", 40), (50, 1, "cat", "cat", 45))
    found = measure_called_fake(called, val)
    assert list_names(found["fakes"]["generators"]) == ["car", "cat"]
    assert found["fakes"]["sources"] == []
    assert len(found["reals"]["sources"]) == 2


def test_without_names_there_are_rates_alone():
    found = measure_called_fake(*draw_val((40, 0, "", "", 4), (60, 1, "", "", 50)))
    assert [found[kind]["all"]["rows"] for kind in ("reals", "fakes")] == [40, 60]
    assert not any(found[kind][key] for kind in found for key in ("sources", "generators"))


def test_many_sources_of_the_same_kind_raise_few_alarms():
    """Of 40 sources some have an interval above all others by chance; a shared risk is honest."""
    rng = np.random.default_rng(0)
    _, val = draw_val(*((30, 0, f"s{i}", "", 0) for i in range(40)), (5, 1, "", "", 5))
    alone = shared = 0
    for _ in range(60):
        called = rng.random(len(val)) < 0.1
        found = measure_called_fake(called, val)["reals"]
        rate = found["all"]["called_fake"]
        alone += any(entry["called_fake_low"] > rate for entry in found["sources"])
        shared += is_any_worse("reals", "sources", found)
    assert alone > 20
    assert shared <= 5
