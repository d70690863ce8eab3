"""Near-duplicates: copies are found, different pictures never, giants are cut."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage import data

from features.pixels.thumbnails import hash_thumbnails, shrink_thumbnails
from features.prepare.near_duplicates import CORRELATION, FLAT, RADIUS, Cut, NearLinks, link_near

FACES = Path(__file__).parents[3].parent / "shared/data/faces"
PHOTOS = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass"),
    *("gravel", "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket"),
)
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved at quality 50": lambda image: save_again(image, 50),
    "saved at quality 85, twice": lambda image: save_again(save_again(image, 85), 85),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "a third larger": lambda image: image.resize((image.width * 4 // 3, image.height * 4 // 3)),
    "another shape": lambda image: image.resize((256, 256)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.06),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.1),
}


def save_again(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


def open_photos() -> list[Image.Image]:
    return [Image.fromarray(getattr(data, name)()).convert("RGB") for name in PHOTOS]


def draw_thumbnails(images: list[Image.Image]) -> np.ndarray:
    """`(n, 64, 64)` uint8 grey."""
    small = [image.resize((64, 64), Image.Resampling.BOX).convert("L") for image in images]
    return np.stack([np.asarray(image) for image in small])


def link_images(images: list[Image.Image]) -> NearLinks:
    thumbnails = draw_thumbnails(images)
    return link_near(hash_thumbnails(thumbnails), shrink_thumbnails(thumbnails))


def draw_pictures(shown: np.ndarray, noise: float = 1, seed: int = 0) -> np.ndarray:
    """`(n, 32, 32)`: row i shows texture number `shown[i]` under noise of its own."""
    rng = np.random.default_rng(seed)
    textures = rng.integers(40, 216, (shown.max(initial=0) + 1, 32, 32))
    grain = rng.normal(0, noise, (len(shown), 32, 32))
    return np.clip(textures[shown] + grain, 0, 255).round().astype(np.uint8)


def draw_chain(n: int, step: int) -> np.ndarray:
    """Hashes `step` bits from the one before, ever new bits."""
    bits = np.arange(256) < step * np.arange(n)[:, None] % 257
    return np.packbits(bits, axis=1)


def label_links(links: np.ndarray, n: int) -> list[int]:
    """Component of each row, numbered by first row."""
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    parts = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(parts, return_index=True, return_inverse=True)
    return first[inverse].tolist()


def test_hashes_are_those_of_imagehash() -> None:
    y, x = np.mgrid[:64, :64]
    patterns = np.stack([(x * x + 3 * y * x + 7 * y) % 251, (x * y * y // 8 + 5 * x + y) % 256])
    # Made by imagehash 4.3.2: phash(Image.fromarray(pattern), hash_size=16)
    assert [h.tobytes().hex() for h in hash_thumbnails(patterns.astype(np.uint8))] == [
        "800d121c018e040a04d9213e08f70b36dfff107d26ddbfff5ff707b949b16735",
        "800002d4007912b60bfb1ef51eda5ff518915e8edd3518b792dad6f750b9d3f8",
    ]


def test_a_hash_is_the_same_alone_and_among_many() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (300, 64, 64), dtype=np.uint8)
    alone = np.concatenate([hash_thumbnails(thumbnails[i : i + 1]) for i in range(300)])
    np.testing.assert_array_equal(hash_thumbnails(thumbnails), alone)


def test_stored_thumbnails_are_means_of_four_pixels() -> None:
    thumbnails = np.zeros((1, 64, 64), np.uint8)
    thumbnails[0, :2, :4] = [[1, 0, 255, 255], [1, 0, 255, 254]]
    assert shrink_thumbnails(thumbnails)[0, 0, :3].tolist() == [1, 255, 0]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_are_linked_and_other_pictures_never(
    change: Callable[[Image.Image], Image.Image],
) -> None:
    photos = open_photos()
    n = len(photos)
    found = link_images(photos + [change(photo) for photo in photos])
    assert found.rows.tolist() == [[i, i + n] for i in range(n)]
    assert (found.distance <= RADIUS).all()
    assert (found.correlation >= CORRELATION).all()
    assert found.cuts == ()


def test_distance_and_correlation_are_those_of_the_pictures() -> None:
    photos = open_photos()[:4]
    thumbnails = draw_thumbnails(photos + [save_again(photo, 60) for photo in photos])
    hashes, stored = hash_thumbnails(thumbnails), shrink_thumbnails(thumbnails)
    found = link_near(hashes, stored)
    flat = stored.reshape(8, -1)
    for (i, j), distance, correlation in zip(
        found.rows, found.distance, found.correlation, strict=True
    ):
        assert distance == np.bitwise_count(hashes[i] ^ hashes[j]).sum()
        assert correlation == pytest.approx(np.corrcoef(flat[i], flat[j])[0, 1], abs=1e-6)


def test_flat_pictures_are_never_linked() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((64, 64), 120, np.uint8)
    wave = np.rint(120 + FLAT * 1.3 * np.sin(np.arange(64) / 5)).astype(np.uint8) + grey * 0
    grain = rng.integers(118, 123, (64, 64), dtype=np.uint8)
    thumbnails = np.repeat(np.stack([grey, grey * 0, wave, grain]), 3, axis=0)
    assert (shrink_thumbnails(thumbnails).std(axis=(1, 2)) < FLAT).all()
    assert link_near(hash_thumbnails(thumbnails), shrink_thumbnails(thumbnails)).rows.size == 0


def test_equal_hashes_of_different_pictures_are_not_linked() -> None:
    shown = np.array([0, 1, 2, 0, 1, 3, 0])
    found = link_near(np.zeros((7, 32), np.uint8), draw_pictures(shown))
    assert label_links(found.rows, 7) == [0, 1, 2, 0, 1, 5, 0]
    assert (found.distance == 0).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 60),
    pictures=st.integers(1, 4),
    noise=st.sampled_from([0, 8, 10]),
    uneven=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_components_are_those_of_all_pairs_in_any_order(
    n: int, pictures: int, noise: float, uneven: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random((n, 256)) < rng.choice([0.0, 0.02, 0.97], 256)
    if not uneven:
        bits = np.arange(256) < rng.integers(0, 60, (n, 1))
    hashes = np.packbits(bits, axis=1)
    thumbnails = draw_pictures(rng.integers(0, pictures, n), noise, seed)
    thumbnails[rng.random(n) < 0.1] = 99
    flat = thumbnails.reshape(n, -1)
    sharp = flat.std(axis=1) >= FLAT
    with np.errstate(invalid="ignore"):
        alike = np.corrcoef(flat).reshape(n, n) >= CORRELATION
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2, dtype=int)
    true = (distances <= RADIUS) & alike & sharp & sharp[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("features.prepare.near_duplicates.GIANT_ROWS", n)
        found = link_near(hashes, thumbnails)
        order = rng.permutation(n)
        moved = link_near(hashes[order], thumbnails[order])
        late = rng.random(n) < 0.3
        apart = link_near(hashes, thumbnails, later=late)
        alone = link_near(hashes[~late], thumbnails[~late])
    assert true[found.rows[:, 0], found.rows[:, 1]].all()
    expected = label_links(np.argwhere(np.triu(true, 1)), n)
    assert label_links(found.rows, n) == expected
    assert label_links(order[moved.rows], n) == expected
    assert len(found.rows) == n - len(set(expected))  # a link that joins nothing is left out
    assert found.rows.tolist() == sorted(found.rows.tolist())
    assert (found.rows[:, 0] < found.rows[:, 1]).all()
    assert true[apart.rows[:, 0], apart.rows[:, 1]].all()
    assert label_links(apart.rows, n) == expected
    among = apart.rows[~late[apart.rows].any(axis=1)]
    assert among.tolist() == np.flatnonzero(~late)[alone.rows].tolist()


def test_later_rows_make_no_component_of_the_others_giant() -> None:
    hashes = np.tile(draw_chain(3, 12), (20, 1))
    late = np.arange(60) % 3 == 1  # the middle of the chain, which 40 others lie at the ends of
    found = link_near(hashes, draw_pictures(np.zeros(60, int)), later=late)
    alone = link_near(hashes[~late], draw_pictures(np.zeros(40, int)))
    among = found.rows[~late[found.rows].any(axis=1)]
    assert among.tolist() == np.flatnonzero(~late)[alone.rows].tolist()
    assert alone.cuts == ()
    assert found.cuts == (Cut(first_row=0, rows=60, largest=20, radius=7),)


def test_a_giant_chain_of_look_alikes_is_cut_and_reported() -> None:
    far = np.packbits(np.arange(256) % 2 == np.zeros((2, 1)), axis=1)  # a pair beside the chain
    hashes = np.concatenate([np.tile(draw_chain(21, 12), (5, 1)), far])
    shown = np.repeat([0, 1], [105, 2])
    found = link_near(hashes, draw_pictures(shown))
    assert found.cuts == (Cut(first_row=0, rows=105, largest=5, radius=7),)
    assert label_links(found.rows, 107) == [*(list(range(21)) * 5), 105, 105]


@pytest.mark.parametrize(("rows", "radius"), [(50, None), (51, 3)])
def test_a_giant_picture_stays_together_and_is_reported(rows: int, radius: int | None) -> None:
    hashes = np.tile(draw_chain(2, 3), (26, 1))[:rows]
    found = link_near(hashes, draw_pictures(np.zeros(rows, int)))
    assert set(label_links(found.rows, rows)) == {0}
    assert found.cuts == ((Cut(0, rows, rows, radius),) if radius else ())


def test_giants_are_cut_one_by_one_as_far_as_each_needs() -> None:
    chain, lump = np.tile(draw_chain(21, 6), (3, 1)), np.full((60, 32), 0b10101010, np.uint8)
    shown = np.repeat([0, 1], [63, 60])
    order = np.random.default_rng(0).permutation(123)
    found = link_near(np.concatenate([chain, lump])[order], draw_pictures(shown)[order])
    first = [int(np.flatnonzero(shown[order] == picture)[0]) for picture in (0, 1)]
    assert found.cuts == (Cut(first[0], 63, 3, 3), Cut(first[1], 60, 60, 3))


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pictures_have_no_links(n: int) -> None:
    found = link_near(np.zeros((n, 32), np.uint8), draw_pictures(np.zeros(n, int)))
    assert found.rows.shape == (0, 2)
    assert (len(found.distance), len(found.correlation), found.cuts) == (0, 0, ())


def test_thumbnails_are_read_in_blocks() -> None:
    class Reader:
        def __init__(self, thumbnails: np.ndarray) -> None:
            self.thumbnails, self.most = thumbnails, 0

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            assert rows.dtype == np.int64
            self.most = max(self.most, len(rows))
            return self.thumbnails[rows]

    n = 20_000
    hashes = np.random.default_rng(0).integers(0, 256, (n // 2, 32), dtype=np.uint8)
    reader = Reader(draw_pictures(np.arange(n) % 100))
    found = link_near(np.tile(hashes, (2, 1)), reader)
    assert found.rows.tolist() == [[i, i + n // 2] for i in range(n // 2)]
    assert reader.most <= 8192


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hash_thumbnails(np.zeros((2, 32, 32), np.uint8)), r"uint8 \(2, 32, 32\), not"),
        (lambda: hash_thumbnails(np.zeros((2, 64, 64))), r"float64 \(2, 64, 64\), not uint8"),
        (lambda: shrink_thumbnails(np.zeros((64, 64), np.uint8)), r"not uint8 \(n, 64, 64\)"),
        (
            lambda: link_near(np.zeros((2, 32), np.uint8), np.zeros((2, 64, 64), np.uint8)),
            r"not uint8 \(n, 32, 32\)",
        ),
        (
            lambda: link_near(np.zeros((2, 64), np.uint8), np.zeros((2, 32, 32), np.uint8)),
            r"hashes are uint8 \(2, 64\), not",
        ),
    ],
    ids=["side", "type", "one picture", "large thumbnails", "long hashes"],
)
def test_other_shapes_and_types_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.real
@pytest.mark.skipif(not FACES.is_dir(), reason="needs ../shared/data/faces")
def test_aligned_faces_of_different_people_are_not_linked() -> None:
    paths = sorted(FACES.glob("*set/*.jpg"))
    faces = [Image.open(path) for path in paths]
    again = [save_again(face, 70) for face in faces[::10]]
    n = len(faces)
    assert n == 600
    found = link_images(faces + again)
    assert found.rows.tolist() == [[10 * i, n + i] for i in range(len(again))]
    assert found.cuts == ()
