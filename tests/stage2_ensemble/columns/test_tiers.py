"""Damaged files of train as columns: of the right rows, and nothing that leaks gets in."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import perturb_rows, write_perturbed_train

from features.artifacts.perturbed import Variant, read_perturbed, write_perturbed
from features.core.files import read_sealed, write_sealed
from features.errors import LeakageError, StaleArtifactError
from stage2_ensemble.columns.columns import check_fittable, read_train_columns
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.columns.tiers import read_fold_tiers
from stage2_ensemble.stack import run as stack

WEB = (Variant("web", None),)


def read_columns(world):
    extras = read_extras(stack.FORENSICS, world.train)
    names = tuple(world.plan.strengths)
    return read_train_columns(stack.DUMPS, world.train, names, world.plan.active, extras)


@pytest.mark.parametrize("plan", ["one fold", pytest.param("three folds", marks=pytest.mark.scale)])
def test_rows_are_those_of_the_fold_and_calibration_rows_as_the_dumps_have_them(enter, plan):
    world = enter(plan)
    write_perturbed_train(world)
    for inside, calibration in read_columns(world):
        found = read_fold_tiers(stack.TIERS, world.train, inside, ["web"])
        for tier, own in ((found.inside, inside), (found.calibration, calibration)):
            columns = tier["web"]
            np.testing.assert_array_equal(columns.row_ids, own.row_ids)
            np.testing.assert_array_equal(columns.labels, own.labels)
            np.testing.assert_array_equal(columns.groups, own.groups)
            np.testing.assert_array_equal(columns.extras, own.extras)
            assert (columns.backbones, columns.digests) == (own.backbones, own.digests)
            signs = np.where(own.labels == 1, 1, -1)
            lost = np.array(list(world.plan.strengths.values())) / 2
            np.testing.assert_allclose(
                columns.logits, own.logits - signs[:, None] * lost, atol=1e-5
            )


def test_nothing_can_be_fitted_on_them(enter):
    world = enter("one fold")
    write_perturbed_train(world)
    ((inside, _),) = read_columns(world)
    with pytest.raises(LeakageError, match="TierColumns"):
        check_fittable(read_fold_tiers(stack.TIERS, world.train, inside, ["web"]).inside["web"])


def test_rows_that_a_member_has_learned_from_are_refused_on_write_and_on_read(enter):
    world = enter("one fold")
    write_perturbed_train(world)
    folder = stack.TIERS / "0"
    found = read_perturbed(folder, world.train)
    learned = world.train.rows_to_learn(0).row_ids[: len(found)]
    with pytest.raises(LeakageError, match="scores rows that it learned from"):
        write_perturbed(replace(found, row_ids=learned), world.train, folder)
    for path in folder.glob("*-0.*.npy"):  # members of fold 1 learn from rows of fold 0
        path.rename(folder / path.name.replace("-0.", "-1."))
    facts = read_sealed(folder / "perturbed.json", "tiers")
    facts["members"] = [{**member, "fold": 1} for member in facts["members"]]
    facts["sha256"] = {n.replace("-0.", "-1."): digest for n, digest in facts["sha256"].items()}
    write_sealed(folder / "perturbed.json", facts)
    with pytest.raises(LeakageError, match="scores rows that it learned from"):
        read_perturbed(folder, world.train)


def test_scores_of_val_are_no_scores_of_train(enter):
    world = enter("one fold")
    ids = world.val.rows_to_dump(0)[:40]
    found = perturb_rows(world, world.val, ids, WEB, (0,))
    write_perturbed(found, world.val, stack.TIERS / "0")
    ((inside, _),) = read_columns(world)
    with pytest.raises(StaleArtifactError, match="dvc repro tiers"):
        read_fold_tiers(stack.TIERS, world.train, inside, ["web"])


def test_other_tiers_and_other_members_are_stale(enter):
    world = enter("one fold")
    ((inside, _),) = read_columns(world)
    write_perturbed_train(world)
    with pytest.raises(StaleArtifactError, match=r"tiers web.*tiers hard.*dvc repro tiers"):
        read_fold_tiers(stack.TIERS, world.train, inside, ["hard"])
    write_perturbed_train(world, digest="d" * 64)
    with pytest.raises(StaleArtifactError, match=r"dddddddd.*dvc repro tiers"):
        read_fold_tiers(stack.TIERS, world.train, inside, ["web"])
