"""What a comparison is judged on, and that nobody learns from it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from compared_runs import SETTINGS
from small_task import make_table

from features.core.manifest import count_classes, write_manifest
from features.errors import ConfigError, LeakageError
from features.settings.compare import CompareParams
from features.settings.sections import apply_overrides, validate_params
from stage1_cnn.compare.judged_rows import choose_judged
from stage1_cnn.compare.run import build_executor
from stage1_cnn.compare.runs import plan_runs


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """160 rows in groups of 5, a real and four fakes each; every second group is of one camera."""
    labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
    table = make_table(labels, np.repeat(np.arange(4), 40).astype(np.int16))
    table["group"] = np.arange(160) // 5
    table["generator"] = ["", "gan", "gan", "splice", "diffusion"] * 32
    table.loc[table["group"] >= 4, "generator"] = table["generator"].replace("splice", "gan")
    table["source"] = np.where(table["group"] % 2, "phone", "studio")
    path = tmp_path_factory.mktemp("train") / "train.parquet"
    return write_manifest(table, "train", path)


def make_params(*overrides):
    overrides = ("compare.rows=[null]", *overrides)
    return validate_params(CompareParams, apply_overrides(SETTINGS, overrides), "params.yaml")


def choose(train, hold_out, fold=0):
    params = make_params(f"compare.hold_out={hold_out}", f"compare.fold={fold}")
    judged = choose_judged(params.compare, train)
    return judged, plan_runs(params, train, judged)


def test_without_a_domain_the_fold_judges(train):
    judged, runs = choose(train, "{}")
    assert judged.name == "fold 0"
    assert judged.row_ids.tolist() == list(range(40))
    assert len(runs[0].rows.row_ids) == 120


def test_fakes_of_a_new_generator_meet_the_folds_reals(train):
    judged, runs = choose(train, "{generator: splice}")
    assert judged.name == "generator splice of fold 0"
    table = train.table.iloc[judged.row_ids]
    assert set(table["fold"]) == {0}
    fakes = table[table["label"] == 1]
    assert set(fakes["generator"]) == {"splice"}
    assert count_classes(train.labels[judged.row_ids]) == (8, 4)
    learned = train.table.iloc[runs[0].rows.row_ids]
    assert set(learned["generator"]) == {"", "gan", "diffusion"}
    assert not set(learned["group"]) & set(table["group"])


def test_groups_that_mix_all_generators_still_learn(train):
    judged, runs = choose(train, "{generator: diffusion}")
    learned = train.table.iloc[runs[0].rows.row_ids]
    assert len(learned) == 120 - 24
    assert "diffusion" not in set(learned["generator"])
    assert count_classes(train.labels[judged.row_ids]) == (8, 8)


def test_a_source_of_both_classes_judges_alone(train):
    judged, runs = choose(train, "{source: [phone]}")
    assert set(train.table["source"].iloc[judged.row_ids]) == {"phone"}
    assert count_classes(train.labels[judged.row_ids]) == (4, 16)
    assert set(train.table["source"].iloc[runs[0].rows.row_ids]) == {"studio"}


def test_a_fold_without_the_domain_cannot_judge(train):
    problem = "generator splice of fold 1 has 8 real and 0 fake rows; both are needed"
    with pytest.raises(ConfigError, match=problem):
        choose(train, "{generator: splice}", fold=1)


def test_all_domains_that_are_not_there_are_told_together(train):
    with pytest.raises(ConfigError) as caught:
        choose(train, "{generator: [splise, gan], source: [moon]}")
    assert caught.value.problems == [
        "compare.hold_out.generator: no row has 'splise'; did you mean splice?",
        "compare.hold_out.source: no row has 'moon'; known: phone, studio",
    ]


def test_rows_without_names_cannot_be_left_out(train, tmp_path):
    table = train.table.assign(source="")
    other = write_manifest(table, "train", tmp_path / "train.parquet")
    with pytest.raises(ConfigError, match=r"the rows name no source \(data.columns.source\)"):
        choose(other, "{source: phone}")


def test_val_columns_cannot_be_held_out():
    with pytest.raises(ConfigError, match=r"compare\.hold_out\.domain"):
        make_params("compare.hold_out={domain: unseen}")


def test_judged_rows_of_a_learned_group_stop_a_run(train):
    judged, runs = choose(train, "{generator: splice}")
    leaking = replace(runs[0], rows=train.rows_to_learn(1))
    execute = build_executor(make_params(), train, judged, SimpleNamespace())
    with pytest.raises(LeakageError, match="judged on learned groups"):
        execute(leaking)


def test_another_domain_makes_all_runs_again(train):
    (_, by_fold), (_, by_domain) = choose(train, "{}"), choose(train, "{source: phone}")
    assert not {run.key for run in by_fold} & {run.key for run in by_domain}
