"""What a bundle says of its rules on val is what the project measured, of the same rules."""

import logging

import pytest

from features.errors import StaleArtifactError
from serving.bundle import rates as module
from serving.bundle.rates import build_rates, read_rates


def make_promise(realised: float) -> dict:
    bounds = {"realised_low": realised - 0.01, "realised_high": realised + 0.02}
    return {"title": "", "sense": "", "promised": 0.0, "realised": realised, **bounds}


THRESHOLD = {"fpr": make_promise(0.1), "tpr": make_promise(0.9), "slope": make_promise(1.0)}
BAND = {
    "reals_called_fake": make_promise(0.02),
    "fakes_called_real": make_promise(0.03),
    "reals_in_review": make_promise(0.2),
    "fakes_in_review": make_promise(0.3),
}


def test_a_threshold_calls_reals_fake_and_misses_fakes():
    rates = build_rates(THRESHOLD, reals=10, fakes=20)
    assert (rates.reals, rates.fakes) == (10, 20)
    assert rates.reals_called_fake.value == 0.1
    missed = rates.fakes_called_real
    assert (missed.value, missed.low, missed.high) == pytest.approx((0.1, 0.08, 0.11))
    assert rates.reals_in_review is None


def test_a_band_counts_in_place_of_the_threshold():
    rates = build_rates(THRESHOLD | BAND, reals=10, fakes=20)
    assert (rates.reals_called_fake.value, rates.fakes_called_real.value) == (0.02, 0.03)
    assert (rates.reals_in_review.value, rates.fakes_in_review.value) == (0.2, 0.3)


def test_without_metrics_the_bundle_says_nothing(ensemble, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "forgerystack")
    assert read_rates(ensemble.scorer.second_stage, tmp_path / "metrics.json") is None
    assert "does not say what its rules did on val" in caplog.text


@pytest.mark.parametrize("moved", [0.0, 0.5])
def test_metrics_of_another_threshold_are_stale(ensemble, tmp_path, monkeypatch, moved):
    second_stage = ensemble.scorer.second_stage
    value = second_stage.rules.scorers[second_stage.shipped].threshold.value
    metrics = {
        "val": {"shipped": second_stage.shipped},
        "threshold": {"value": value + moved},
        "promises": THRESHOLD,
        "rows": {"val": {"reals": 10, "fakes": 20}},
    }
    path = tmp_path / "metrics.json"
    path.write_text("{}")
    monkeypatch.setattr(module, "check_sums", lambda *_: [path])
    monkeypatch.setattr(module, "read_metrics", lambda _: metrics)
    if moved:
        with pytest.raises(StaleArtifactError, match="evaluate"):
            read_rates(second_stage, path)
    else:
        assert read_rates(second_stage, path) == build_rates(THRESHOLD, 10, 20)
