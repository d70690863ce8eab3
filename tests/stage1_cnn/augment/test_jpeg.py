import io

import numpy as np
import pytest
import torch
from pictures import make_pictures
from PIL import Image

from stage1_cnn.augment.jpeg import compress, scale_tables

QUALITIES = (1, 10, 30, 49, 50, 75, 90, 95, 100)


def save_and_open(images, quality, halved):
    result = []
    for image in images.numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
        result.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(result))


@pytest.mark.parametrize("halved", [False, True], ids=["444", "420"])
@pytest.mark.parametrize("shape", [(64, 64), (37, 58), (50, 33), (9, 5)])
def test_compression_is_pillows_to_the_bit(shape, halved):
    noise = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    images = torch.cat([make_pictures(2, 64), torch.from_numpy(noise)])
    images = images[:, : shape[0], : shape[1]].contiguous()
    for quality in QUALITIES:
        found = compress(images, np.full(3, quality), np.full(3, halved))
        assert torch.equal(found, save_and_open(images, quality, halved)), quality


def test_each_row_has_its_own_quality_and_chroma():
    images = make_pictures(4, 48)
    qualities, halved = np.array([20, 95, 20, 60]), np.array([True, False, False, True])
    found = compress(images, qualities, halved)
    for row in range(4):
        alone = save_and_open(images[row : row + 1], int(qualities[row]), halved[row])
        assert torch.equal(found[row : row + 1], alone)


def test_tables_are_those_in_pillows_files():
    for quality in QUALITIES:
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
        written = Image.open(file).quantization
        found = scale_tables(np.array([quality]))[0].flatten(1)
        assert found.tolist() == [list(written[0]), list(written[1])]
