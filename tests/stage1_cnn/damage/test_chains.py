"""Chains of damage: a function of seed and draw alone, of all lengths, on pictures of any size."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import make_pictures

from stage1_cnn.damage.chains import DAMAGES, MOST_STEPS, damage_picture, draw_chain

PICTURE = make_pictures(1, 64)[0].numpy()
DRAWS = range(30)
ALONE = """
import hashlib, numpy as np
from stage1_cnn.damage.chains import damage_picture
picture = np.arange(48 * 40 * 3).astype(np.uint8).reshape(48, 40, 3)
for draw in range(30):
    print(hashlib.sha256(damage_picture(picture, 7, draw).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("shape", [(8, 9), (16, 16), (17, 160), (64, 50)])
def test_every_damage_takes_a_picture_of_any_size_and_changes_it(name, shape):
    picture = make_pictures(1, max(shape))[0].numpy()[: shape[0], : shape[1]]
    before = picture.copy()
    found = [DAMAGES[name](picture, np.random.default_rng(seed)) for seed in range(20)]
    np.testing.assert_array_equal(picture, before)
    for damaged in found:
        assert damaged.dtype == np.uint8
        assert damaged.ndim == 3
        assert damaged.shape[2] == 3
    changed = [d.shape != picture.shape or (d != picture).any() for d in found]
    if min(shape) > 16:
        assert np.mean(changed) >= 0.8


def test_a_cut_leaves_the_grid_of_a_jpeg_on_both_axes():
    marked = np.zeros((200, 300, 3), np.uint8)
    marked[..., 0], marked[..., 1] = np.arange(200)[:, None], np.arange(300)[None] % 251
    for seed in range(200):
        corner = DAMAGES["cut"](marked, np.random.default_rng(seed))[0, 0]
        assert corner[0] % 8
        assert corner[1] % 8


def test_chains_have_every_length_and_order_and_nothing_twice():
    random = np.random.default_rng(0)
    chains = [draw_chain(random) for _ in range(2000)]
    assert np.bincount(list(map(len, chains)))[1:] == pytest.approx(500, abs=80)
    assert max(map(len, chains)) == MOST_STEPS
    assert all(len(set(chain)) == len(chain) for chain in chains)
    firsts, lasts = ({chain[place] for chain in chains} for place in (0, -1))
    assert firsts == lasts == set(DAMAGES)


def test_a_draw_is_a_function_of_its_number_whatever_else_is_drawn():
    whole = [damage_picture(PICTURE, 3, draw) for draw in DRAWS]
    backwards = [damage_picture(PICTURE, 3, draw) for draw in reversed(DRAWS)][::-1]
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(lambda draw: damage_picture(PICTURE, 3, draw), DRAWS))
    for one, *others in zip(whole, backwards, beside, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)
    shapes = {damaged.shape for damaged in whole}
    assert len(shapes) > 10
    other_seed = [damage_picture(PICTURE, 4, draw) for draw in DRAWS]
    assert sum(a.shape == b.shape for a, b in zip(whole, other_seed, strict=True)) < 15


def test_another_process_gives_the_same_bytes():
    picture = np.arange(48 * 40 * 3).astype(np.uint8).reshape(48, 40, 3)
    wanted = [hashlib.sha256(damage_picture(picture, 7, d).tobytes()).hexdigest() for d in DRAWS]
    root = Path(__file__).parents[3]
    alone = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=root, capture_output=True, text=True, check=True
    )
    assert alone.stdout.split() == wanted


def test_a_chance_is_kept_and_spares_the_others_to_the_bit():
    found = [damage_picture(PICTURE, 0, draw, 0.3) for draw in range(500)]
    assert np.mean([damaged is not PICTURE for damaged in found]) == pytest.approx(0.3, abs=0.06)
    always = [damage_picture(PICTURE, 0, draw) for draw in range(40)]
    for one, other in zip(found, always, strict=False):
        assert one is PICTURE or np.array_equal(one, other)  # the chance moves no chain
