"""Several folds, models on embeddings and forensic columns: as the second stage itself has it."""

from contextlib import chdir
from dataclasses import replace

import numpy as np
import pytest
from shown_squares import show_squares
from synthetic_world import BACKBONES, WIDTH, Plan, build_world

from features.core.members import Correction
from features.forensics import columns as forensics
from features.settings.images import Limits
from serving.format.facts import MemberFacts, PixelFacts, Sight
from serving.scoring.needs import find_needs
from serving.scoring.networks import NetworkScores
from serving.scoring.scorer import Scorer
from serving.scoring.views import SQUARE_VIEWS, Squares
from stage2_ensemble.columns.columns import HeldOutColumns
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.stack.__main__ import main as stack

FOLDS, SIDE = (0, 1, 2), 16
WHOLE = Sight(mode="square", side=SIDE)
PIXELS = PixelFacts(size=SIDE, equalize=False, limits=Limits())


def describe_member(backbone: str, fold: int) -> MemberFacts:
    return MemberFacts(
        backbone=backbone, fold=fold, model="test", kind="onnx", file=f"{backbone}-{fold}",
        digest="", correction=Correction(shift=0.5), sees=WHOLE, side=SIDE, tta="none", width=WIDTH,
        parameters=1, operations=1, pretrained="", licence="", parity=None,
    )  # fmt: skip


class Said:
    """A member whose scores follow from the first pixels of a square, and from its name."""

    def __init__(self, facts: MemberFacts, asked: list[str]) -> None:
        self.facts, self.asked = facts, asked

    def score(self, squares: Squares) -> NetworkScores:
        self.asked.append(self.facts.name)
        seeds = [int(square.reshape(-1)[:4].sum()) for square in squares]
        own = sum(map(ord, self.facts.name))
        rows = [np.random.default_rng([seed, own]).normal(size=1 + WIDTH) for seed in seeds]
        found = np.array(rows, np.float32)
        return NetworkScores(found[:, :1], found[:, 1:])


def build_scorer(second_stage: SecondStage) -> tuple[Scorer, list[str]]:
    asked: list[str] = []
    members = [describe_member(b, fold) for fold in second_stage.folds for b in BACKBONES]
    return Scorer(second_stage, members, PIXELS, lambda facts: Said(facts, asked)), asked


@pytest.fixture(scope="module")
def second_stage(tmp_path_factory: pytest.TempPathFactory) -> SecondStage:
    """Of three folds and a small LightGBM model, which looks at two made-up forensic columns."""
    world = build_world(tmp_path_factory.mktemp("world") / "it", Plan(active=FOLDS))
    with chdir(world.root):
        stack()
    return read_ensemble(world.root / "artifacts/stackers")


def ship(second_stage: SecondStage, name: str) -> SecondStage:
    return replace(second_stage, shipped=name)


SQUARES = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
ROWS = show_squares(SQUARES)


@pytest.mark.parametrize("name", ["mean", "rank_mean", "greedy", "logistic", "best_single"])
def test_simple_combiners_score_as_the_second_stage_does(
    second_stage: SecondStage, name: str
) -> None:
    shipped = ship(second_stage, name)
    scorer, _ = build_scorer(shipped)
    found = scorer.score(ROWS, all_members=True)
    columns = [
        HeldOutColumns(
            fold=fold,
            backbones=BACKBONES,
            row_ids=np.arange(len(SQUARES)),
            logits=np.stack([found.members[f"{b}-{fold}"] for b in BACKBONES], axis=1),
            embeddings=tuple(np.zeros((len(SQUARES), WIDTH), np.float16) for _ in BACKBONES),
            digests=shipped.digests[fold],
        )
        for fold in FOLDS
    ]
    np.testing.assert_allclose(found.log_odds, shipped.score(name, columns), rtol=1e-12)
    np.testing.assert_array_equal(scorer.score(ROWS).log_odds, found.log_odds)


def test_members_that_change_nothing_are_not_asked(second_stage: SecondStage) -> None:
    scorer, asked = build_scorer(ship(second_stage, "best_single"))
    scorer.score(ROWS)
    (backbone,) = scorer.needs.backbones
    assert asked == [f"{backbone}-{fold}" for fold in FOLDS]
    assert not scorer.needs.forensics


def test_a_boosted_model_asks_all_members_and_the_columns_that_it_was_fitted_with(
    second_stage: SecondStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = find_needs(second_stage, "lightgbm")
    assert needs.backbones == BACKBONES
    assert needs.forensics
    assert not needs.file_facts
    fitted = second_stage.models["lightgbm"].table.names  # type: ignore[attr-defined]
    names = tuple(n.removeprefix("forensic:") for n in fitted if n.startswith("forensic:"))
    values = np.random.default_rng(0).normal(size=(5, len(names))).astype(np.float32)
    monkeypatch.setattr(forensics, "COLUMNS", names)
    monkeypatch.setattr(forensics, "measure_images", lambda squares: values[: len(squares)])
    scorer, asked = build_scorer(ship(second_stage, "lightgbm"))
    found = scorer.score(ROWS).log_odds
    assert len(asked) == len(BACKBONES) * len(FOLDS)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) > 1
    # Each picture's score is its own, whatever is scored beside it.
    np.testing.assert_allclose(
        scorer.score(show_squares(SQUARES[:1])).log_odds, found[:1], rtol=1e-12
    )


def test_no_squares_have_no_scores(second_stage: SecondStage) -> None:
    scorer, asked = build_scorer(second_stage)
    found = scorer.score(show_squares(SQUARES[:0]), all_members=True)
    assert found.log_odds.shape == (0,)
    assert not asked
    assert set(found.members) == {f"{b}-{fold}" for fold in FOLDS for b in BACKBONES}


def test_views_are_those_of_dumps() -> None:
    import torch

    from stage1_cnn.scoring.views import VIEWS

    assert SQUARE_VIEWS.keys() == VIEWS.keys()
    for name, views in SQUARE_VIEWS.items():
        for ours, theirs in zip(views, VIEWS[name], strict=True):
            wanted = theirs(torch.from_numpy(SQUARES)).numpy()
            np.testing.assert_array_equal(ours(SQUARES), wanted)
