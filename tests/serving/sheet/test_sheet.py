"""The evidence sheet: what it says follows from the bundle, and hostile files stay text."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from browser import open_page
from PIL import Image, PngImagePlugin
from shown_squares import show_squares

from features.errors import PictureError
from serving.format.facts import RateFacts, ValRates
from serving.format.neighbours import read_neighbours
from serving.reading.shown import show_row
from serving.scoring.scorer import Scorer
from serving.sheet.blocks import share_blocks
from serving.sheet.copies import COPIES
from serving.sheet.covering import GRID, WHOLE, cover_places, map_covering
from serving.sheet.facts import gather_facts
from serving.sheet.page import build_sheet, render_sheet
from serving.sheet.words import format_probability
from stage2_ensemble.models.best_simple import BestSimple
from stage2_ensemble.models.boosted import Boosted

HOSTILE = '<img src=x onerror="document.title=1">\u202e.png'


@pytest.fixture(scope="module")
def content(project):
    return (project / "data/demo/valset" / sorted(
        path.name for path in (project / "data/demo/valset").iterdir()
    )[0]).read_bytes()  # fmt: skip


@pytest.fixture(scope="module")
def facts(ensemble, content):
    return gather_facts(ensemble, content, "holiday.png")


def read_text(page: str) -> str:
    """What a reader sees."""
    body = re.sub(r"<[^>]+>", " ", page.partition("<body>")[2])
    return " ".join(body.split())


def test_the_sheet_says_what_label_says(ensemble, content, facts):
    [row] = ensemble.label([content])
    assert (facts.row.label, facts.row.log_odds) == (row.label, row.log_odds)
    text = read_text(render_sheet(facts))
    assert f"Probability of being fake: {format_probability(row.log_odds)}" in text
    assert "of such pictures are fake, as in the pictures that were learned from" in text


def test_every_section_is_there(facts):
    text = read_text(render_sheet(facts))
    for title in ("How far to trust it", "Does the answer last?", "What changes the score when",
                  "What moved the second stage", "What the file says of its origin"):  # fmt: skip
        assert title in text
    for copy in COPIES:
        assert copy.name in text
    assert text.count("not found") == 4
    assert "proves nothing" in text


def test_same_picture_same_bytes(ensemble, content):
    pages = {build_sheet(ensemble, content, "a.png") for _ in range(2)}
    assert len(pages) == 1


def test_a_label_that_flips_is_left_to_a_person(facts):
    decided = replace(facts.row, label="real")
    steady = replace(facts, row=decided, copies=tuple(
        replace(row, label="real") for row in facts.copies
    ))  # fmt: skip
    assert steady.label == "real"
    assert "stays real in all 7 changed copies" in read_text(render_sheet(steady))
    flipped = replace(
        steady, copies=(*steady.copies[:-1], replace(decided, label="fake", name="screenshot"))
    )
    assert (flipped.label, flipped.flips) == ("review", ("screenshot",))
    text = read_text(render_sheet(flipped))
    assert "The label flips in 1 of 7 changed copies" in text
    assert "call this file real, but not when it is changed a little (screenshot)" in text


def test_what_a_band_leaves_open_or_cannot_be_read_flips_nothing(facts):
    decided = replace(facts.row, label="real")
    others = (replace(decided, label="review"), replace(decided, label="fake", status="too small"))
    assert replace(facts, row=decided, copies=others).label == "real"


def test_rates_on_val_are_told_with_intervals(facts):
    rate = RateFacts(value=0.094, low=0.052, high=0.162)
    val = ValRates(
        reals=96, fakes=144, reals_called_fake=rate, fakes_called_real=rate,
        reals_in_review=None, fakes_in_review=None,
    )  # fmt: skip
    told = read_text(
        render_sheet(replace(facts, bundle=facts.bundle.model_copy(update={"val": val})))
    )
    assert "nothing was fitted on (96 reals, 144 fakes): of 100 reals the rules" in told
    assert "called 9.4 [5.2, 16.2] fake, of 100 fakes they found 90.6 [83.8, 94.8]" in told
    open_val = val.model_copy(update={"reals_in_review": rate, "fakes_in_review": rate})
    bundle = facts.bundle.model_copy(update={"val": open_val})
    assert "and left 9.4 [5.2, 16.2] to review" in read_text(
        render_sheet(replace(facts, bundle=bundle))
    )


def test_hostile_names_and_marks_stay_text(ensemble):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "</dd><script>alert(1)</script>" + "x" * 100_000)
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=texts)
    page = build_sheet(ensemble, buffer.getvalue(), HOSTILE)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "x" * 400 not in page


def draw(ensemble, content):
    """What the networks see of the picture."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    [part] = ensemble.reader.find_parts(pixels)
    return ensemble.reader.draw_part(pixels, part, ensemble.scorer.list_sights())


def test_covering_tells_the_places_that_scores_depend_on(ensemble, content, facts):
    canvases = draw(ensemble, content)
    covered = cover_places(canvases)
    assert len(covered) == 1 + GRID * GRID
    maps = {cover_map.scorer: cover_map for cover_map in map_covering(ensemble, canvases)}
    assert list(maps) == [WHOLE, *ensemble.scorer.needs.backbones]
    assert maps[WHOLE].log_odds == pytest.approx(facts.row.log_odds, abs=1e-4)
    place = (2, 5)
    (whole,) = canvases.values()
    square = whole.pixels.copy()
    square[12:18, 30:36] = 127
    alone = ensemble.score_rows(show_squares(square[None]))
    read = ensemble.scorer.second_stage.rules.read(
        ensemble.scorer.second_stage.shipped, alone.log_odds
    )
    assert maps[WHOLE].log_odds - read[0] == pytest.approx(maps[WHOLE].changes[place], abs=1e-4)


@pytest.mark.parametrize("name", ["mean", "greedy", "logistic"])
def test_shares_of_blocks_add_up_to_the_score(ensemble, content, facts, name):
    own = ensemble.scorer
    second_stage = replace(own.second_stage, shipped=name)
    held = ensemble.facts
    scorer = Scorer(second_stage, held.members, held.pixels, own.get_network)
    row = show_row(draw(ensemble, content))
    shares = share_blocks(scorer, row)
    assert shares is not None
    [log_odds] = scorer.score(row).log_odds
    assert shares.base + sum(shares.blocks.values()) == pytest.approx(log_odds, abs=1e-4)
    page = render_sheet(replace(facts, shares=shares))
    assert f"starts at log-odds {shares.base:+.2f}" in page


def test_a_model_without_trees_has_the_shares_of_its_combiner(ensemble, content):
    own = ensemble.scorer
    mean = own.second_stage.models["mean"]
    treeless = Boosted(BestSimple(mean.combiner), None, ())  # no table: nothing looks at columns
    facts, load = ensemble.facts, own.get_network
    found = []
    for model in (mean, treeless):
        models = {**own.second_stage.models, "mean": model}
        second_stage = replace(own.second_stage, models=models, shipped="mean")
        scorer = Scorer(second_stage, facts.members, facts.pixels, load)
        found.append(share_blocks(scorer, show_row(draw(ensemble, content))))
    assert found[0].blocks == pytest.approx(found[1].blocks)
    assert any(found[0].blocks.values())


def test_the_nearest_of_train_are_shown_by_class(ensemble, project, facts):
    own = read_neighbours(ensemble.bundle.folder).facts.pictures[0]
    picture = project / "data/demo/trainset" / own.name
    near = gather_facts(ensemble, picture.read_bytes(), "a.png").near
    assert [one.picture.label for one in near] == ["real"] * 4 + ["fake"] * 4
    for part in (near[:4], near[4:]):
        similarities = [one.similarity for one in part]
        assert similarities == sorted(similarities, reverse=True)
    first = max(near, key=lambda one: one.similarity)
    assert first.picture == own
    text = read_text(render_sheet(replace(facts, near=near)))
    assert "Of 8 training pictures that came with the bundle" in text
    assert f"{own.name} : the same (similarity 1.00)" in text
    assert "It proves nothing" in text


def test_names_of_training_pictures_stay_text(facts):
    first = facts.near[0]
    hostile = replace(first, picture=first.picture.model_copy(update={"name": HOSTILE}))
    page = render_sheet(replace(facts, near=(hostile,)))
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_without_training_pictures_there_is_no_section(facts):
    assert "Training pictures" not in read_text(render_sheet(replace(facts, near=())))


@pytest.mark.parametrize(
    ("similarity", "told"),
    [(1.0, "the same"), (0.7, "near"), (0.5, "usual distance"), (0.1, "far")],
)
def test_distances_are_told_in_words(facts, similarity, told):
    near = (replace(facts.near[0], similarity=similarity, usual=(0.4, 0.6)),)
    text = read_text(render_sheet(replace(facts, near=near)))
    assert f"{near[0].picture.name} : {told} (similarity {similarity:.2f})" in text
    assert ("All are far" in text) == (told == "far")


def test_what_is_no_sum_shows_no_shares(facts):
    assert "is no sum over columns" in render_sheet(replace(facts, shares=None))


def test_what_is_no_picture_is_refused(ensemble):
    with pytest.raises(PictureError, match="none of the formats"):
        build_sheet(ensemble, b"no picture", "a.png")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_fetches_nothing(browser, facts, tmp_path, width, scheme):
    path = tmp_path / "sheet.html"
    path.write_text(render_sheet(facts), encoding="utf-8")
    with open_page(browser, path, width=width, color_scheme=scheme) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert opened.complaints == []
        assert all(url.startswith(("data:", "file:")) for url in opened.requests)
