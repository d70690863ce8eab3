"""Planning, running and resuming a comparison, with a training that is made up."""

import json

import numpy as np
import pytest
from compared_runs import SETTINGS, make_unseen
from small_task import make_table

from features.core.manifest import count_classes, write_manifest
from features.errors import ConfigError, NotFiniteError
from features.settings.compare import CompareParams
from features.settings.sections import apply_overrides, validate_params
from features.settings.training import Overrides, TrainingSections
from stage1_cnn.compare.judged_rows import choose_judged
from stage1_cnn.compare.runs import (
    Clock,
    make_runs,
    plan_runs,
    read_diverged,
    read_finished,
)


def make_params(*overrides):
    return validate_params(CompareParams, apply_overrides(SETTINGS, overrides), "params.yaml")


def find_problems(*overrides):
    with pytest.raises(ConfigError) as caught:
        make_params(*overrides)
    return caught.value.problems


def plan(params, train):
    return plan_runs(params, train, choose_judged(params.compare, train))


class Fake:
    """A training that takes no time and notes that it was asked for."""

    def __init__(self, fail_at=None):
        self.names, self.fail_at = [], fail_at

    def __call__(self, run):
        if len(self.names) == self.fail_at:
            raise KeyboardInterrupt
        self.names.append(run.name)
        return {"raw": make_unseen(0.8)}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
    folds = np.repeat(np.arange(4), 40).astype(np.int16)
    path = tmp_path_factory.mktemp("train") / "train.parquet"
    return write_manifest(make_table(labels, folds), "train", path)


def test_a_variant_overrides_by_field_on_top_of_its_backbone():
    settings = make_params("backbones.resnet.sampling.real_per_fake=0.5").resolve_variant("slow")
    assert (settings.model, settings.schedule.epochs, settings.schedule.batch_size) == (
        "test_resnet", 3, 16,
    )  # fmt: skip
    assert (settings.sampling.mode, settings.sampling.real_per_fake) == ("natural", 0.5)
    assert (settings.optimizer.lr, settings.optimizer.weight_decay) == (1e-4, 0.05)


def test_a_variant_may_change_the_network_its_side_and_its_kind():
    weights = "pretrained: weights.safetensors"
    params = make_params(
        "compare.variants.half.image_size=16",
        "compare.variants.other.model=test_vit",
        f"compare.variants.frozen={{kind: frozen, {weights}, schedule: null}}",
    )
    half, other, frozen = (params.resolve_variant(name) for name in ("half", "other", "frozen"))
    assert (half.model, half.image_size, half.schedule.epochs) == ("test_resnet", 16, 3)
    assert (other.model, other.image_size) == ("test_vit", SETTINGS["images"]["size"])
    assert (frozen.kind, frozen.model) == ("frozen", "test_resnet")


def test_a_learning_curve_makes_no_finished_run_count_less(train):
    runs, same, others = (
        [run.key for run in plan(make_params(*overrides), train)]
        for overrides in ([], ["schedule.curve_rows=0"], ["schedule.batch_size=8"])
    )
    assert runs == same
    assert not set(runs) & set(others)


def test_another_file_of_weights_of_the_same_name_makes_its_runs_again(train, tmp_path):
    root, weights = f"weights.root={tmp_path}", "compare.variants.slow.pretrained=w.safetensors"
    found = []
    for content in ("one", "two"):
        (tmp_path / "w.safetensors").write_text(content)
        found.append({run.name: run.key for run in plan(make_params(root, weights), train)})
    assert {run.split("-")[1] for run in found[0] if found[0][run] != found[1][run]} == {"slow"}


def test_a_variant_may_override_every_section_that_a_backbone_may():
    assert set(Overrides.model_fields) == set(TrainingSections.model_fields)


def test_without_a_section_natural_meets_balanced_on_the_first_backbone():
    values = {key: value for key, value in SETTINGS.items() if key != "compare"}
    params = validate_params(CompareParams, values, "params.yaml")
    compare = params.compare
    assert (params.compared_backbone, compare.rows, compare.seeds) == ("resnet", (None,), 3)
    modes = {name: params.resolve_variant(name).sampling.mode for name in compare.variants}
    assert modes == {"natural": "natural", "balanced": "balanced"}


def test_all_conflicts_are_told_at_once():
    problems = find_problems(
        "compare.variants.twin.sampling.mode=natural",
        "compare.variants.both.ema.half_life_epochs=0.5",
        "compare.variants.long.ema={decay: null, half_life_epochs: 2}",
        "compare.variants.mixed={loss: {kind: focal}, augment: {mixup: 0.5}}",
        "compare.variants.far={sampling: {mode: natural, pairs: true}}",
        "compare.variants.sphere.loss.uniformity=0.5",
        "compare.variants.stuck={loss: {alignment: 0.1}, network: {head: cosine}, optimizer: "
        "{tune: head}}",
        "compare.variants.large.image_size=64",
        "compare.variants.still.kind=frozen",
        "backbones.other.image_size=64",
    )
    starts = ["backbones.other.image_size 64"] + [
        f"compare.variants.{name}: {text}"
        for name, text in (
            ("both", "half_life_epochs and decay say the same thing"),
            ("long", "ema.half_life_epochs 2.0 is more than a third"),
            ("mixed", "loss.kind focal cannot learn from mixed labels"),
            ("far", "sampling.pairs: sampling.mode natural has no classes to draw side by side"),
            ("sphere", "loss.alignment and loss.uniformity act on directions of embeddings"),
            ("stuck", "loss.alignment and loss.uniformity change nothing where"),
            ("large", "image_size 64 is above images.size"),
            (
                "still",
                "a frozen network has no use for schedule, which backbones.resnet sets: set "
                "schedule to null here",
            ),
            ("still", "pretrained false: a frozen network that has learned nothing"),
            ("twin", "has the same settings as natural"),
        )
    ]
    assert len(problems) == len(starts)
    assert all(any(p.startswith(start) for p in problems) for start in starts)


def test_what_no_head_is_changed_by_is_refused_with_what_would_change_one():
    frozen = "{kind: frozen, model: test_resnet, pretrained: weights.safetensors}"
    problems = find_problems(
        f"backbones.resnet={frozen}",
        "compare.variants={natural: {sampling: {mode: natural}}, balanced: {sampling: {mode: "
        "balanced}}, weighted: {sampling: {mode: natural}, loss: {class_weight: balanced}}, "
        "both: {layer: 1, ema: {decay: 0.9}, network: {input: srm, dropout: 0.1}}, "
        "pairs: {sampling: {pairs: true}}, trained: {kind: trained, layer: 1}}",
    )
    what = "a frozen network has no use for"
    starts = {
        "weighted": f"{what} loss, and all else is that of natural: take the variant out. What may",
        "both": f"{what} ema, network.dropout: take that out. What may vary: images, sampling,",
        "pairs": f"{what} sampling.pairs, and all else is that of balanced: take the variant out",
        "trained": "a trained network has no use for layer: take that out",
    }
    assert len(problems) == len(starts)
    for problem, (name, text) in zip(problems, starts.items(), strict=True):
        assert problem.startswith(f"compare.variants.{name}: {text}")


def test_whatever_changes_a_head_may_be_compared():
    varied = {
        "sampling": "{mode: natural}", "images": "{mode: fit}", "image_size": "16", "layer": "1",
        "pooling": "max", "model": "test_vit", "network": "{input: srm}", "pretrained": "other.pt",
    }  # fmt: skip
    frozen = "{kind: frozen, model: test_resnet, pretrained: weights.safetensors}"
    variants = [f"compare.variants.{name}.{name}={value}" for name, value in varied.items()]
    params = make_params(f"backbones.resnet={frozen}", "compare.variants={plain: {}}", *variants)
    resolved = [params.resolve_variant(name).model_dump() for name in params.compare.variants]
    assert all(settings != resolved[0] for settings in resolved[1:])


def test_all_fields_that_are_wrong_are_told_at_once():
    problems = find_problems(
        "compare.seeds=0", "compare.take=last", "compare.rows=[0]", "compare.variant={}",
        "compare.variants.natural.sampling.mod=x", "compare.variants.A.b={}",
    )  # fmt: skip
    text = "\n".join(problems)
    for place in ("seeds", "take", "rows.0", "variant: unknown; did you mean variants?",
                  "variants.natural.sampling.mod: unknown", "variants.A"):  # fmt: skip
        assert f"compare.{place}" in text


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("compare.backbone=resne", "compare.backbone resne: unknown; did you mean resnet?"),
        ("compare.rows=[40, 40]", "compare: rows names a number twice"),
    ],
)
def test_one_problem(override, problem):
    assert find_problems(override) == [problem]


def test_plan_makes_whole_comparisons_seed_by_seed_from_few_rows_to_many(train):
    names = [run.name for run in plan(make_params(), train)]
    assert names == [
        f"{rows}-{variant}-{seed}"
        for seed in (0, 1)
        for rows in ("40", "all")
        for variant in ("natural", "slow")
    ]


def test_all_variants_and_seeds_see_the_same_rows_none_of_the_fold(train):
    runs = plan(make_params("compare.rows=[20, 40]", "compare.fold=1"), train)
    by_size = {}
    for run in runs:
        by_size.setdefault(len(run.rows.row_ids), run.rows.row_ids)
        assert np.array_equal(run.rows.row_ids, by_size[len(run.rows.row_ids)])
    assert sorted(by_size) == [20, 40]
    assert set(by_size[20]) < set(by_size[40])
    for rows in by_size.values():
        assert (np.diff(rows) > 0).all()
        assert 1 not in train.folds[rows]


def test_first_takes_the_first_rows_and_random_goes_by_the_seed(train):
    first = plan(make_params("compare.take=first"), train)[0].rows.row_ids
    assert first.tolist() == list(range(40, 80))
    one, other = (plan(make_params(f"seed={s}"), train)[0].rows.row_ids for s in (3, 4))
    assert not np.array_equal(one, other)


def test_all_rows_by_number_are_all_rows(train):
    names = {run.name for run in plan(make_params("compare.rows=[120, null]"), train)}
    assert names == {f"all-{v}-{s}" for v in ("natural", "slow") for s in (0, 1)}


def test_rows_that_cannot_be_had_are_told_together(train):
    params = make_params("compare.rows=[1, 121]", "compare.take=first")
    with pytest.raises(ConfigError) as caught:
        plan(params, train)
    few, many = caught.value.problems
    assert few.startswith("compare.rows 1: 1 real and 0 fake rows")
    assert "121: without fold 0, train has 120 rows" in many


def test_a_fold_without_a_class_cannot_judge(tmp_path):
    labels = np.array([1] * 10 + [0, 1] * 10, dtype=np.int8)
    folds = np.repeat([0, 1, 2], 10).astype(np.int16)
    train = write_manifest(make_table(labels, folds), "train", tmp_path / "train.parquet")
    assert count_classes(labels[:10]) == (0, 10)
    with pytest.raises(ConfigError, match="fold 0 has 0 real and 10 fake rows"):
        plan(make_params("compare.rows=[null]"), train)


def test_a_fold_that_is_not_there_is_named(train):
    with pytest.raises(ConfigError, match=r"compare.fold 7: train has folds \[0, 1, 2, 3\]"):
        plan(make_params("compare.fold=7"), train)


def make(params, train, folder, fake, clock=None):
    return make_runs(plan(params, train), folder, fake, clock or Clock(None))


def test_a_second_call_makes_nothing(train, tmp_path):
    first, second = Fake(), Fake()
    assert make(make_params(), train, tmp_path, first) == []
    assert len(first.names) == 8
    assert make(make_params(), train, tmp_path, second) == []
    assert second.names == []
    found = read_finished(plan(make_params(), train), tmp_path)
    assert len(found) == 8
    assert found["all-slow-1"].scores.log_odds["raw"] == pytest.approx(np.full(4, 0.8))


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("compare.variants.slow.optimizer.lr=2e-4", {"40-slow", "all-slow"}),
        ("compare.rows=[40, 50, null]", {"50-natural", "50-slow"}),
        ("compare.take=first", {"40-natural", "40-slow"}),
        ("backbones.other.model=test_vit", set()),
        ("images.store=raw", set()),
        ("images.equalize=true", {"40-natural", "40-slow", "all-natural", "all-slow"}),
    ],
)
def test_only_runs_that_a_change_concerns_are_made_again(train, tmp_path, override, again):
    make(make_params(), train, tmp_path, Fake())
    fake = Fake()
    make(make_params(override), train, tmp_path, fake)
    assert {name.rsplit("-", 1)[0] for name in fake.names} == again


def test_other_labels_make_all_runs_again(train, tmp_path):
    make(make_params(), train, tmp_path / "out", Fake())
    table = train.table.assign(label=train.table["label"].to_numpy()[::-1])
    fake = Fake()
    make(make_params(), write_manifest(table, "train", tmp_path / "t"), tmp_path / "out", fake)
    assert len(fake.names) == 8


def test_a_damaged_file_is_made_again(train, tmp_path):
    make(make_params(), train, tmp_path, Fake())
    path = tmp_path / "runs" / "40-slow-1.json"
    path.write_text(path.read_text().replace("0.8", "0.9"))
    (tmp_path / "runs" / "40-slow-0.json").write_text("{")
    np.save(tmp_path / "runs" / "all-slow-1.npy", np.zeros((1, 4), np.float32))
    (tmp_path / "runs" / "40-natural-0.npy").unlink()
    fake = Fake()
    make(make_params(), train, tmp_path, fake)
    assert fake.names == ["40-natural-0", "40-slow-0", "40-slow-1", "all-slow-1"]


def test_what_was_finished_before_an_interrupt_stays(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(make_params(), train, tmp_path, Fake(fail_at=3))
    fake = Fake()
    make(make_params(), train, tmp_path, fake)
    assert len(fake.names) == 5


def test_runs_stop_before_one_that_would_not_fit(train, tmp_path):
    now = [0.0]
    clock = Clock(1.0, lambda: now[0])
    fake = Fake()

    def take_25_seconds(run):
        now[0] += 25
        return fake(run)

    runs = plan(make_params("compare.rows=[40]"), train)
    clock.estimate = lambda _: 25.0 if fake.names else None
    left = make_runs(runs, tmp_path, take_25_seconds, clock)
    assert fake.names == ["40-natural-0", "40-slow-0"]
    assert [run.name for run in left] == ["40-natural-1", "40-slow-1"]
    files = sorted((tmp_path / "runs").glob("*.json"))
    assert [json.loads(file.read_text())["variant"] for file in files] == ["natural", "slow"]


class Diverging(Fake):
    """One whose runs of a variant diverge."""

    def __call__(self, run):
        scores = super().__call__(run)
        if run.variant == "natural":
            raise NotFiniteError("loss of 11 steps in a row", [5, 78])
        return scores


def test_a_run_that_diverges_stops_no_other_and_is_tried_again_after_all_others(train, tmp_path):
    params, fake = make_params("compare.rows=[40]"), Diverging()
    assert make(params, train, tmp_path, fake) == []
    assert fake.names == ["40-natural-0", "40-slow-0", "40-natural-1", "40-slow-1"]
    assert list(read_finished(plan(params, train), tmp_path)) == ["40-slow-0", "40-slow-1"]
    diverged = read_diverged(plan(params, train), tmp_path)
    assert list(diverged) == ["40-natural-0", "40-natural-1"]
    assert all("loss of 11 steps in a row" in reason for reason in diverged.values())

    more = make_params("compare.rows=[40]", "compare.seeds=3")
    again = Fake()
    make(more, train, tmp_path, again)
    assert again.names == ["40-natural-2", "40-slow-2", "40-natural-0", "40-natural-1"]
    assert not read_diverged(plan(more, train), tmp_path)


def test_a_run_that_diverged_under_other_settings_counts_for_nothing(train, tmp_path):
    make(make_params("compare.rows=[40]"), train, tmp_path, Diverging())
    other = make_params("compare.rows=[40]", "compare.variants.natural.optimizer.lr=1e-5")
    assert not read_diverged(plan(other, train), tmp_path)


def test_no_time_makes_nothing(train, tmp_path):
    fake = Fake()
    assert len(make(make_params(), train, tmp_path, fake, Clock(0))) == 8
    assert fake.names == []


def test_time_is_told_from_like_runs_or_by_images(train):
    small, _, large, _ = plan(make_params("compare.seeds=1"), train)
    clock = Clock(None)
    assert clock.estimate(small) is None
    clock.add(small, 10)
    assert clock.estimate(small) == 10
    assert clock.estimate(large) == pytest.approx(30)  # 120 rows for 40
    clock.add(large, 24)
    assert clock.estimate(large) == 24
    assert clock.describe([small, large]) == "about 34 s"
    assert clock.describe([large] * 10) == "about 4 min"
