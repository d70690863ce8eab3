import numpy as np
import pytest
import torch
from small_task import SIZE, keep_pixels, make_settings

from features.errors import DeviceMemoryError
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring import rows as scoring
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import find_width, score_rows

CPU = torch.device("cpu")
ALONE = Processes(CPU)


@pytest.fixture(scope="module")
def engine():
    torch.manual_seed(0)
    settings = make_settings()
    return build_torch_engine(build_network(settings), settings, CPU)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (50, SIZE, SIZE, 3), dtype=np.uint8)
    return keep_pixels(tmp_path_factory.mktemp("images") / "images.bin", pixels)


@pytest.mark.parametrize("batch", [7, 64])
def test_rows_are_scored_in_the_order_in_which_they_are_asked_for(
    monkeypatch, engine, store, batch
):
    monkeypatch.setattr(scoring, "CPU_BATCH", batch)
    rows = np.array([40, 3, 17, *range(20, 38), 3])
    found = score_rows(engine, store, rows, ALONE)
    assert (found.logits.dtype, found.embeddings.dtype) == (np.float32, np.float16)
    for place, row in enumerate(rows):
        logit, embedding = engine(torch.from_numpy(store.gather(np.array([row]))))
        np.testing.assert_allclose(found.logits[place], logit[0], atol=1e-5)
        np.testing.assert_allclose(found.embeddings[place], embedding[0], atol=1e-3)


def test_without_rows_there_are_no_scores_but_a_width(engine, store):
    found = score_rows(engine, store, np.empty(0, np.int64), ALONE)
    assert found.logits.shape == (0,)
    assert found.embeddings.shape == (0, find_width(engine))


class Made:
    """An engine of made-up embeddings."""

    device, side, name = CPU, SIZE, "made"

    def __init__(self, value=0.0, error=None):
        self.value, self.error = value, error

    def __call__(self, pixels):
        if self.error:
            raise self.error
        return torch.zeros(len(pixels)), torch.full((len(pixels), 2), self.value)


def test_large_activations_stay_finite(store):
    for value, kept in ((1e9, 65_504), (-1e9, -65_504)):
        found = score_rows(Made(value), store, np.arange(3), ALONE)
        assert (found.embeddings == kept).all()


def test_networks_are_asked_with_fixed_algorithms(store):
    """Whatever a training has set: cuDNN's trials are a matter of chance."""
    cudnn, seen = torch.backends.cudnn, []

    class Watched(Made):
        def __call__(self, pixels):
            seen.append((cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32))
            return super().__call__(pixels)

    with cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        score_rows(Watched(), store, np.arange(50), ALONE)
        assert (cudnn.benchmark, cudnn.allow_tf32) == (True, True)
    assert set(seen) == {(False, True, False)}


def test_too_little_memory_of_the_feeding_thread_is_told_too(store):
    class Full:
        size = SIZE

        def gather(self, row_ids, out=None):
            raise torch.AcceleratorError("CUDA error: out of memory", 2)

    with pytest.raises(DeviceMemoryError, match=r"dump\.image_size"):
        score_rows(Made(), Full(), np.arange(3), ALONE)


@pytest.mark.fault("too little memory on the card or beside it")
def test_too_little_memory_is_told_with_what_to_do(store):
    engine = Made(error=torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(DeviceMemoryError, match=r"dump\.image_size"):
        score_rows(engine, store, np.arange(3), ALONE)
