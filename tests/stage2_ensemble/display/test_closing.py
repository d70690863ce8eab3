"""What a whole run ends with: the answer in a few lines, whatever there is to answer."""

from pathlib import Path

import pytest
from rich.console import Console

from stage2_ensemble.display.closing import print_closing

REPORT, LABELS = Path("artifacts/report.html"), Path("artifacts/labels.csv")


def draw_auc(auc: float, low: float | None = None, high: float | None = None) -> dict:
    return {"auc": auc, "auc_low": low, "auc_high": high}


def draw_share(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high}


def draw_metrics(shipped: str = "random_forest", gain: tuple = (0.0125, -0.0301, 0.0551)) -> dict:
    val = {
        "stack": {**draw_auc(0.98765, 0.97251, 0.99249), "reliable": True},
        "mean": draw_auc(0.975, 0.95, 0.99),
        "best_single": draw_auc(0.97, 0.94, 0.985),
        "null_model": draw_auc(0.612, 0.55, 0.679),
        "shipped": shipped,
        "differences": {} if shipped == "mean" else {"mean": draw_auc(*gain)},
    }
    rows = {"val": {"reals": 12_000, "fakes": 48_000}}
    shares = {"reals": draw_share(0.0312, 0.021, 0.045), "fakes": draw_share(0.93, 0.91, 0.945)}
    answers = {name: {"fake": share} for name, share in shares.items()}
    lowest = {"worst": "hard", "worst_auc": 0.712, "worst_auc_low": 0.68, "worst_auc_high": 0.744}
    robust = {"stack": {**draw_auc(0.8123, 0.79, 0.834), **lowest}}
    found = {
        "val": val,
        "rows": rows,
        "answers": answers,
        "backbone_figures": {"a": {}, "b": {}},
        "domains": {"seen": {}},
    }
    return found | {"robustness": {"robust": robust}}


def show(metrics: dict, report: Path | None = REPORT, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        print_closing(metrics, report, LABELS, console)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_answer_fits_a_screen_and_says_what_is_promised():
    metrics = draw_metrics()
    metrics["domains"]["gap"] = draw_auc(0.0123, -0.0282, 0.0581)
    assert show(metrics) == [
        "val: 12,000 real, 48,000 fake",
        " ships       random_forest, AUC 0.988 [0.972, 0.993]",
        " beside it   mean 0.975 [0.950, 0.990], best single 0.970 [0.940, 0.985]",
        " robust      AUC 0.812 [0.790, 0.834], lowest 0.712 [0.680, 0.744] (hard)",
        " null model  AUC 0.612 [0.550, 0.679] from file facts, without any picture",
        " threshold   FPR 0.031 [0.021, 0.045], TPR 0.930 [0.910, 0.945]",
        " worth it?   AUC +0.0125 [-0.0301, +0.0551] over the mean: interval includes 0",
        " unseen      AUC on seen minus on unseen generators +0.0123 [-0.0282, +0.0581]",
        " report      artifacts/report.html",
        " labels      artifacts/labels.csv",
    ]


@pytest.mark.parametrize(
    ("metrics", "answer"),
    [
        (draw_metrics(gain=(0.01, 0.002, 0.02)), "over the mean: interval above 0"),
        (draw_metrics(gain=(-0.01, -0.02, -0.002)), "over the mean: interval below 0"),
        (
            draw_metrics(gain=(0.01, None, None)),
            "AUC +0.0100 over the mean: too few groups for an interval",
        ),
        (
            draw_metrics("mean"),
            "the plain mean itself ships",
        ),
    ],
)
def test_it_says_whether_the_stack_is_worth_it(metrics, answer):
    (line,) = [line for line in show(metrics) if "worth it?" in line]
    assert line.endswith(answer)


def test_the_mean_of_one_backbone_is_not_held_against_itself():
    metrics = draw_metrics()
    metrics["backbone_figures"].pop("b")
    (beside,) = [line for line in show(metrics) if line.startswith(" beside it")]
    assert beside.split("   ")[1] == "mean 0.975 [0.950, 0.990]"


def test_with_a_review_band_its_rates_stand_in_place_of_the_thresholds():
    metrics = draw_metrics()
    for name, left in {"reals": 0.2, "fakes": 0.314}.items():
        metrics["answers"][name]["review"] = draw_share(left, left - 0.1, left + 0.1)
    metrics["answers"]["review"] = {"low": -1.0, "high": 1.5}
    text = " ".join(" ".join(show(metrics)).split())
    rates = "FPR 0.031 [0.021, 0.045], TPR 0.930 [0.910, 0.945]"
    assert f"review band {rates}, to review 20 % of reals, 31 % of fakes" in text
    assert "threshold" not in text


def test_few_groups_are_doubted_and_what_is_not_there_is_left_out():
    metrics = draw_metrics()
    metrics["val"]["stack"]["reliable"] = False
    lines = show(metrics, report=None)
    assert lines[0] == "val: 12,000 real, 48,000 fake; few groups: interval not reliable"
    assert not [line for line in lines if "report" in line or "unseen" in line]


def test_without_val_it_says_so_and_quotes_the_run_before():
    earlier = {"shipped": "mean", **draw_auc(0.95, 0.9, 0.97), "rows": {"reals": 100, "fakes": 200}}
    threshold = {"fpr": {"value": 0.05}, "tpr": {"value": 0.9}}
    found = {"auc": {"mean": 0.96, "best_single": 0.95, "greedy": 0.97}, "read_on": "out-of-fold"}
    metrics = {"val": None, "note": "no held-out val: data.final is true", "shipped": "greedy"}
    metrics |= {"out_of_fold": {**found, "threshold": threshold}, "earlier": earlier}
    text = "\n".join(show(metrics))
    assert text.startswith("no held-out val: data.final is true\n")
    assert "greedy: out-of-fold AUC 0.970" in text
    assert "mean 0.960, best single 0.950" in text
    assert "FPR 0.050, TPR 0.900 on out-of-fold rows" in text
    assert "0.950 [0.900, 0.970] of mean" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "no earlier run is known" in "\n".join(
        show(metrics | {"earlier": "no earlier run is known"})
    )
