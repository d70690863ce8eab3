"""The page in a real browser: as somebody chooses, drops and pastes pictures."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_page
from live_service import Live, serve

KEY = "a key for tests alone".replace(" ", "-")
HOSTILE = "<img src=x onerror='document.title=1'>.png"
HAND_OVER = """([encoded, kind]) => {
  const bytes = Uint8Array.from(atob(encoded), (sign) => sign.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "handed.png"));
  const facts = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
  const made = kind === "drop" ? new DragEvent(kind, facts) : new ClipboardEvent(kind, facts);
  document.body.dispatchEvent(made);
}"""


@pytest.fixture(scope="module")
def live(browser: Any, bundle: Path) -> Iterator[Live]:
    """Where there is a browser."""
    with serve(bundle, "--workers", "1", "--max-seconds", "120") as live:
        yield live


def choose(page, name: str, content: bytes) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_a_picture_gets_its_label_and_its_evidence(
    browser: Any, live: Live, pictures: list[Path], width: int
) -> None:
    content = pictures[0].read_bytes()
    [expected] = live.client.post("/score", files={"pictures": content}).json()["pictures"]
    with open_page(browser, live.address, width=width) as opened:
        page = opened.page
        choose(page, HOSTILE, content)
        page.wait_for_selector("#evidence:not([hidden])", timeout=120_000)
        assert page.inner_text("#name") == HOSTILE
        assert page.inner_text("#label") == expected["label"]
        assert page.inner_text("#score") == f"{100 * expected['score']:.1f} %"
        sheet = page.frame_locator("#sheet")
        assert sheet.locator("h1").inner_text() == "Evidence, not a verdict"
        assert HOSTILE in sheet.locator("header").inner_text()
        assert sheet.locator("img").first.evaluate("image => image.naturalWidth") > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.title() == "Real or forged?"
        elsewhere = [url for url in opened.requests if not url.startswith(live.address)]
        assert not [url for url in elsewhere if not url.startswith(("data:", "blob:", "about:"))]
    assert opened.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted(
    browser: Any, live: Live, pictures: list[Path], kind: str
) -> None:
    with open_page(browser, live.address) as opened:
        encoded = base64.b64encode(pictures[1].read_bytes()).decode()
        opened.page.evaluate(HAND_OVER, [encoded, kind])
        opened.page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
        assert opened.page.inner_text("#name") == "handed.png"


def test_what_is_no_picture_is_said_to_be_none(browser: Any, live: Live) -> None:
    with open_page(browser, live.address) as opened:
        choose(opened.page, "text.png", b"no picture")
        opened.page.wait_for_selector("#answer:not([hidden])")
        assert opened.page.inner_text("#said") == "This picture cannot be read."
        assert "none of the formats" in opened.page.inner_text("#score")
        assert not opened.page.is_visible("#evidence")


def test_the_page_needs_no_mouse(browser: Any, live: Live) -> None:
    with open_page(browser, live.address) as opened:
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.id") == "file"


def test_with_a_key_the_page_asks_for_it(
    browser: Any, bundle: Path, tmp_path: Path, pictures
) -> None:
    (path := tmp_path / "key").write_text(KEY)
    content = pictures[0].read_bytes()
    with (
        serve(bundle, "--workers", "1", "--api-key-file", str(path)) as live,
        open_page(browser, live.address) as opened,
    ):
        page = opened.page
        choose(page, "a.png", content)
        page.locator("#said", has_text="401").wait_for()
        page.fill("#key", KEY)
        choose(page, "a.png", content)
        page.wait_for_selector("#answer:not([hidden])", timeout=60_000)


def test_evidence_is_a_page_of_its_own_that_may_do_nothing(
    live: Live, pictures: list[Path]
) -> None:
    answer = live.client.post("/explain", files={"pictures": pictures[0].read_bytes()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].endswith("sandbox")
    refused = live.client.post("/explain", files={"pictures": b"no picture"})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("unreadable: none of the formats")
    two = [("pictures", pictures[0].read_bytes()), ("pictures", b"x")]
    assert live.client.post("/explain", files=two).status_code == 413
