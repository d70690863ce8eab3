"""The report in a real browser: as somebody reads, sorts, filters and marks it."""

import csv
import io
import json
import re

import numpy as np
import pytest
from browser import open_page
from PIL import Image

from features.settings.images import Images
from stage2_ensemble.display.layout import Column, Row, TextTable
from stage2_ensemble.gallery.choosing import BY_CHANCE
from stage2_ensemble.report.pictures import PICTURE_FORMATS, Pictures
from stage2_ensemble.report.questions import Answer
from stage2_ensemble.report.run import describe_gallery, escape_json, fit_page

HOSTILE = '</script><img src=x onerror="document.title=1">,"a".png'
SCORES = {  # label, log-odds of what ships, of two members, generator
    "sure real.png": (0, -6.0, -5.0, -7.0, ""),
    HOSTILE: (0, 4.0, 6.0, 1.0, ""),
    "missed.png": (1, -2.0, -1.0, -3.0, "<b>warp</b>"),
    "close.png": (1, 0.3, 0.2, 0.4, "splice"),
    "found.png": (1, 5.0, 5.5, 4.5, "splice"),
}


def make_row(row: int, name: str) -> dict:
    label, log_odds, first, second, generator = SCORES[name]
    return {
        "row": row,
        "name": name,
        "path": f"valset/{row}.png",
        "label": label,
        "override": -1,
        "generator": generator,
        "source": ("<i>a_phone</i>", "camera")[row % 2],
        "domain": "unseen" if generator.startswith("<") else "seen",
        "decision": "fake" if log_odds >= 0.5 else "real",
        "probability": float(1 / (1 + np.exp(-log_odds))),
        "log_odds": log_odds,
        "members": {"resnet-0": first, "vit-0": second},
        "null_model": 0.1,
        "file": {"width": 64, "height": 48, "bytes": 9000, "format": "PNG", "notes": ""},
        "disagreement": abs(first - second) / 2,
        "why": BY_CHANCE,
        "pairs": [{"role": "train", "path": "trainset/a.png", "kind": "near", "action": "dropped"}]
        if name == "found.png"
        else [],
        "drivers": {
            "greedy": {"base": 0.5, "columns": [["log-odds of resnet", log_odds]], "others": 0.0}
        },
        "neighbours": [
            {"name": "t", "path": "valset/0.png", "label": 1, "generator": "", "similarity": 0.9}
        ],
    }


def make_gallery() -> dict:
    return {
        "val_manifest": "d" * 64,
        "shipped": "greedy",
        "threshold": 0.5,
        "val_rows": 100,
        "rows": [make_row(row, name) for row, name in enumerate(SCORES)],
        "overrides": [
            {"role": "train", "name": "old.png", "label": 0, "corrected": 1},
            {"role": "val", "name": "missed.png", "label": 1, "corrected": 0},
        ],
        "quarantined": [{"name": "bad.png", "path": "valset/bad.png", "problem": "cut off"}],
        "quarantined_rows": 1,
    }


def make_page() -> dict:
    return {
        "title": f"Real or forged: {HOSTILE}",
        "lead": HOSTILE,
        "answers": [Answer("How good is it?", "AUC 0.9", "good", (HOSTILE,))],
        "charts": [{"name": "roc", "title": "ROC", "text": "rises", "svg": "<svg></svg>"}],
        "tables": [
            TextTable("val", (Column("model"), Column("AUC", "right")), (Row((HOSTILE, "0.9")),))
        ],
        "notes": ["a note"],
        "made_of": "made",
        "gallery_lead": describe_gallery(make_gallery(), ["vit"]),
    }


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a few rows, on disk."""
    root = tmp_path_factory.mktemp("data é")
    (root / "valset").mkdir()
    rng = np.random.default_rng(0)
    for row in range(len(SCORES)):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "valset" / f"{row}.png")
    heats = [{"resnet": np.full((2, 4, 4), 200, np.uint8)} for _ in SCORES]
    pictures = Pictures(root, Images(size=48, equalize=False))
    path = root / "a report.html"
    path.write_text(fit_page(make_page(), make_gallery(), pictures, heats), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, report):
    with open_page(browser, report) as opened:
        yield opened
        assert opened.complaints == []
        assert all(url.startswith(("data:", "blob:", "file:")) for url in opened.requests)


def list_tiles(page) -> list[str]:
    labels = page.locator(".tile").evaluate_all("all => all.map(t => t.getAttribute('aria-label'))")
    return [re.sub(r": (right|real called|fake called|cannot|left).*", "", name) for name in labels]


def test_it_opens_on_the_mistakes_and_asks_nobody(opened):
    assert list_tiles(opened.page) == [HOSTILE, "missed.png", "close.png"]
    assert "3 of 6 shown" in opened.page.locator("#count").inner_text()
    assert not [url for url in opened.requests if url.startswith("http")]


def test_it_says_what_is_shown_and_what_lacks(opened):
    text = opened.page.locator("#gallery").inner_text()
    assert "5 of 100 rows of val: a quarter drawn by chance" in text
    assert "1 file of val cannot be used" in text
    assert "No Grad-CAM of vit" in text


@pytest.mark.fault(
    "hostile file names (`<img onerror=…>`)",
    "shown as text",
    "Settings and surroundings",
)
def test_hostile_names_are_text(opened):
    page = opened.page
    assert page.title() == f"Real or forged: {HOSTILE}"
    assert page.locator(".lead").inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("tbody th").inner_text() == HOSTILE
    page.get_by_label(f"{HOSTILE}: real called fake", exact=False).click()
    assert page.locator("#detail-name").inner_text() == HOSTILE


def test_sorting_and_filtering(opened):
    page = opened.page
    page.select_option("#kind", "all")
    page.select_option("#order", "fake")
    assert list_tiles(page)[:3] == ["found.png", HOSTILE, "close.png"]
    page.select_option("#order", "disagreement")
    assert list_tiles(page)[0] == HOSTILE
    page.select_option("#order", "unsure")
    assert list_tiles(page)[0] == "close.png"
    for kind, names in {
        "fp": [HOSTILE],
        "fn": ["close.png", "missed.png"],
        "pairs": ["found.png"],
        "quarantined": ["bad.png"],
        "right": ["found.png", "sure real.png"],
    }.items():
        page.select_option("#kind", kind)
        assert sorted(list_tiles(page)) == sorted(names), kind
    page.select_option("#kind", "all")
    page.select_option("#generator", "<b>warp</b>")
    assert list_tiles(page) == ["missed.png"]
    page.select_option("#generator", "")
    page.select_option("#source", label="<i>a_phone</i>")
    assert sorted(list_tiles(page)) == ["found.png", "missed.png", "sure real.png"]
    page.select_option("#source", "")
    page.select_option("#domain", "unseen")
    assert list_tiles(page) == ["missed.png"]


def test_keys_go_through_the_rows_and_turn_the_map(opened):
    page = opened.page
    page.locator(".tile").first.press("Enter")
    assert page.locator("#place").inner_text() == "1 of 3"
    page.keyboard.press("ArrowRight")
    assert page.locator("#detail-name").inner_text() == "missed.png"
    page.keyboard.press("g")
    assert "signs of real" in page.locator(".heat").get_attribute("alt")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # there is no fourth
    assert page.locator("#place").inner_text() == "3 of 3"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    # Who closes a row stands on it, as soon as the page has heard of the closing.
    name = "document.activeElement.getAttribute('aria-label')"
    page.wait_for_function(f"({name} ?? '').startsWith('missed')")


def test_a_row_says_all_that_is_known(opened):
    page = opened.page
    page.select_option("#kind", "pairs")
    page.locator(".tile").first.click()
    text = page.locator("#detail").inner_text()
    for words in (
        "Label fake, called fake", "greedy (ships)", "resnet-0", "null model", "+5.00",
        "log-odds of resnet", "fake, 0.90", "train, near, dropped", "64 × 48", "99 % fake",
    ):  # fmt: skip
        assert words in text, words


def test_marked_labels_become_review_csv(opened):
    page = opened.page
    page.locator(".tile").first.click()
    page.keyboard.press("w")
    page.locator("#note").fill('is a photo, "really"')
    page.keyboard.press("Escape")  # leaves the note
    page.select_option("#kind", "fn")
    page.locator(".tile").first.click()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    assert page.locator("#review-count").inner_text() == "2 labels looked at, 1 of them wrong"
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "review.csv"
    text = download.value.path().read_text(encoding="utf-8")
    kept, *rows = csv.DictReader(io.StringIO(text))
    assert [kept["role"], kept["img_name"], kept["corrected"]] == ["train", "old.png", "1"]
    assert rows[0] == {
        "role": "val",
        "img_name": HOSTILE,
        "label": "0",
        "corrected": "1",
        "note": 'is a photo, "really"',
    }
    assert [rows[1][name] for name in ("img_name", "label", "corrected")] == [
        "missed.png",
        "1",
        "1",
    ]
    assert len(rows) == 2  # the new word on missed.png, not the old one
    page.locator("#show-csv").click()
    assert page.locator("#csv").input_value() == text
    page.reload()  # marks are kept
    assert page.locator("#review-count").inner_text().startswith("2 labels")
    page.locator("#forget").click()
    assert not page.locator("#review").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(browser, report, scheme):
    with open_page(browser, report, 360, 740, color_scheme=scheme) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator(".tile").first.click()
        body = page.locator("#detail")
        assert body.evaluate("node => node.scrollWidth <= node.clientWidth")
        assert opened.complaints == []


def measure_contrast(page, selector: str) -> float:
    """WCAG contrast of an element's text to the background that it stands on."""
    return page.evaluate(
        """selector => {
        const read = text => text.match(/[\\d.]+/g).map(Number);
        const shine = ([r, g, b]) => [r, g, b].map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        let node = document.querySelector(selector);
        const ink = shine(read(getComputedStyle(node).color));
        let paper = [0, 0, 0, 0];
        while (node && paper[3] === 0) {
          const found = read(getComputedStyle(node).backgroundColor);
          paper = found.length === 3 ? [...found, 1] : found;
          node = node.parentElement;
        }
        const [a, b] = [ink, shine(paper)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_controls_have_names(browser, report, scheme):
    with open_page(browser, report, color_scheme=scheme) as opened:
        page = opened.page
        chosen = ("h1", ".lead", ".answer h2", ".answer li", "figcaption", "nav a", ".tile .wrong",
                  ".tools label", ".note", "td")  # fmt: skip
        for selector in chosen:
            assert measure_contrast(page, selector) >= 4.5, selector
        page.locator(".tile").first.click()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, textarea')]
            .filter(n => !n.textContent.trim() && !n.labels?.length)
            .filter(n => !n.getAttribute('aria-label')).map(n => n.outerHTML)"""
        )
        assert nameless == []
        assert page.locator("html").get_attribute("lang") == "en"


def test_it_reads_without_scripts(browser, report):
    with open_page(browser, report, java_script_enabled=False) as opened:
        text = opened.page.locator("body").inner_text()
        assert "AUC 0.9" in text
        assert "need JavaScript" in text


def test_no_part_of_it_lies_elsewhere(report):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert not re.search(r"url\(|@import", text)


def test_data_cannot_end_the_script():
    text = escape_json({"name": "</script><!--\u2028"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"name": "</script><!--\u2028"}


def test_pictures_shrink_until_the_page_is_small_enough(report, tmp_path):
    pictures = Pictures(report.parent, Images(size=48, equalize=False))
    heats = [{} for _ in SCORES]
    whole = fit_page(make_page(), make_gallery(), pictures, heats)
    less = fit_page(make_page(), make_gallery(), pictures, heats, most=len(whole.encode()) - 1)
    assert len(less.encode()) < len(whole.encode())


def test_pictures_that_are_gone_leave_the_page_whole(tmp_path):
    pictures = Pictures(tmp_path, Images(size=48, equalize=False))
    text = fit_page(make_page(), make_gallery(), pictures, [{} for _ in SCORES])
    assert '"picture":null' in text


def test_a_page_without_pictures_needs_no_script():
    gallery = {**make_gallery(), "rows": [], "quarantined": [], "quarantined_rows": 0}
    text = fit_page(make_page(), gallery, None, [])
    assert "<script" not in text
    assert "AUC 0.9" in text


def test_a_picture_behind_a_link_is_shown_only_where_it_is_trusted(tmp_path):
    root, disk = tmp_path / "data", tmp_path / "disk"
    for folder in (root, disk):
        folder.mkdir()
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(disk / "a.png")
    (root / "a.png").symlink_to(disk / "a.png")
    images, largest = Images(size=48, equalize=False), PICTURE_FORMATS[0]
    assert Pictures(root, images).encode("a.png", largest) is None
    assert Pictures(root, images, (str(disk),)).encode("a.png", largest)
