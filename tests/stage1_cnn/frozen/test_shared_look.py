"""Backbones that read one frozen encoder in several places: it looks at each picture once."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml
from dump_task import make_project, read_files
from filelock import FileLock
from frozen_task import PARAMS, count_pictures, save_weights
from graph_files import write_graph

from features.errors import Stopped
from features.settings.scoring import DumpParams
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.dump.run import run as run_dump
from stage1_cnn.frozen import cache, shared_look
from stage1_cnn.frozen.shared_look import choose_companions, covers
from stage1_cnn.networks.frozen_network import find_reading
from stage1_cnn.networks.network import settle_network
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.scoring import filling, rows
from stage1_cnn.train.run import run as run_train

RESNET = {"kind": "frozen", "model": "test_resnet", "pretrained": "resnet.safetensors"}
GRAPH = {"kind": "frozen", "model": "quarters.onnx"}
BACKBONES = {
    "net": {**RESNET, "image_size": 32},
    "inner": {**RESNET, "image_size": 32, "layer": 1},
    "highest": {**RESNET, "image_size": 32, "layer": 1, "pooling": "max"},
    "small": {**RESNET, "image_size": 24},
    "embeds": {**GRAPH, "image_size": 32, "graph": {"output": "embeds"}},
    "maps": {**GRAPH, "image_size": 32, "pooling": "max", "graph": {"output": "maps"}},
    "shifted": {**GRAPH, "image_size": 32, "graph": {"output": "embeds", "mean": [0.5, 0.5, 0.5]}},
}
TOGETHER = {"net": ("inner", "highest"), "embeds": ("maps",), "small": (), "shifted": ()}
ROWS = 90 + 40 + 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looks")
    make_project(folder)
    save_weights(folder / "resnet.safetensors")
    write_graph(folder / "quarters.onnx")
    write_backbones(folder, BACKBONES)
    return folder


def write_backbones(folder: Path, backbones: dict) -> None:
    params = yaml.safe_load(PARAMS) | {"backbones": backbones}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="module")
def alone(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Weights and dumps of backbones whose encoders each looked for itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CPU_BATCH", 16)
        patch.chdir(shutil.copytree(made, tmp_path_factory.mktemp("alone") / "project"))
        return make_alone(["net", "inner", "highest", "embeds", "maps"])


@pytest.fixture(autouse=True)
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy in which nothing was embedded."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(rows, "CPU_BATCH", 16)
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through an encoder, by batch."""
    return count_pictures(monkeypatch)


def train(backbone: str) -> Path:
    out = Path("artifacts/members") / backbone / "0"
    run_train(load_params(TrainParams), backbone, 0, out, RunLimits(Path("resume")))
    return out


def dump(backbone: str, *overrides: str) -> dict[str, bytes]:
    out = Path("artifacts/dumps") / backbone / "0"
    member = Path("artifacts/members") / backbone / "0"
    limits = RunLimits(Path("resume"))
    run_dump(load_params(DumpParams, overrides), backbone, 0, member, out, limits)
    return read_files(out)


def make_all(names: list[str], *overrides: str) -> dict[str, dict[str, bytes]]:
    """Weights and dumps of these backbones."""
    found = {}
    for name in names:
        weights = {"weights": (train(name) / "weights.safetensors").read_bytes()}
        found[name] = weights | dump(name, *overrides)
    return found


def make_alone(names: list[str], *overrides: str) -> dict[str, dict[str, bytes]]:
    """The same, each in a project that has no other backbone and no embeddings."""
    found = {}
    for name in names:
        shutil.rmtree("store", ignore_errors=True)
        write_backbones(Path(), {name: BACKBONES[name]})
        found |= make_all([name], *overrides)
    write_backbones(Path(), BACKBONES)
    return found


@pytest.mark.parametrize("first", ["net", "embeds"])
def test_one_look_serves_all_that_read_an_encoder(first: str, seen: list[int]) -> None:
    others = TOGETHER[first]
    train(first)
    dump(first)
    assert ROWS <= sum(seen) <= ROWS + 3 * 16  # batches are filled up
    seen.clear()
    make_all(list(others))
    assert sum(seen) <= len(others)  # a black picture for each dump


def test_what_is_read_together_has_the_bytes_of_what_is_read_alone(alone: dict) -> None:
    assert make_all(list(alone)) == alone


def test_views_and_another_size_are_the_same_for_all(seen: list[int]) -> None:
    changed = ("dump.tta=hflip", "dump.image_size=48")
    together = make_all(["net", "inner"], *changed)
    seen.clear()
    assert make_alone(["net", "inner"], *changed) == together


def test_backbones_that_are_scored_otherwise_are_looked_at_by_themselves(seen: list[int]) -> None:
    """Where one has views, the other's pictures are not shown in vain."""
    for name in ("net", "inner", "highest"):
        train(name)
    views = "dump.backbones={net: {tta: hflip}}"
    dump("net", views)
    seen.clear()
    dump("inner", views)
    assert 40 + 10 <= sum(seen) <= 50 + 3 * 16  # val and test; train was known
    seen.clear()
    dump("highest", views)
    assert sum(seen) == 1


def test_what_another_process_embeds_is_left_to_it(alone: dict, seen: list[int]) -> None:
    train("net")
    kept = list(Path("store/embeddings").iterdir())
    others = [folder for folder in kept if read_width(folder) == 32]
    assert len(others) == 2 < len(kept)
    shutil.rmtree("store")
    with ExitStack() as held:
        for folder in others:
            folder.mkdir(parents=True)
            held.enter_context(FileLock(folder / "lock"))
        assert (train("net") / "weights.safetensors").read_bytes() == alone["net"]["weights"]
        assert not any(list(folder.glob("*.npy")) for folder in others)
    seen.clear()
    train("inner")
    assert sum(seen) >= 90


def read_width(folder: Path) -> int:
    return np.load(folder / "rows.embeddings.npy", mmap_mode="r").shape[1]


def test_a_run_that_is_cut_off_goes_on_for_all(
    alone: dict, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def stop_after_two(*args):
        asked.append(1)
        return "told to" if len(asked) > 2 else None

    with monkeypatch.context() as patch:
        patch.setattr(filling.Interruption, "find_reason", stop_after_two)
        with pytest.raises(Stopped, match="of 90 images of train"):
            train("net")
    assert 0 < sum(seen) < 90
    names = ["net", "inner", "highest"]
    assert make_all(names) == {name: alone[name] for name in names}
    assert sum(seen) <= ROWS + 4 * 16


def test_a_companion_that_has_all_is_left_as_it_is(alone: dict, seen: list[int]) -> None:
    """As after its own run, when the other one is new."""
    write_backbones(Path(), {"inner": BACKBONES["inner"]})
    train("inner")
    write_backbones(Path(), BACKBONES)
    seen.clear()
    assert make_all(["net", "inner"]) == {name: alone[name] for name in ("net", "inner")}
    assert ROWS <= sum(seen) <= ROWS + 4 * 16


def test_nobody_waits_for_a_companion_that_is_left_as_it_is(monkeypatch) -> None:
    write_backbones(Path(), {"inner": BACKBONES["inner"]})
    train("inner")
    write_backbones(Path(), {name: BACKBONES[name] for name in ("net", "inner")})
    (folder,) = Path("store/embeddings").iterdir()
    is_free: list[bool] = []
    fill = cache.fill_blocks

    def look_at_lock(*given):
        with FileLock(folder / "lock", timeout=0):
            is_free.append(True)
        return fill(*given)

    monkeypatch.setattr(cache, "fill_blocks", look_at_lock)
    train("net")
    assert is_free == [True]


def test_an_encoder_that_says_something_else_is_looked_at_by_each(
    alone: dict,
    seen: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*given):
        raise ValueError("layers that are read together say something else than alone")

    caplog.set_level("INFO", logger="forgerystack")
    monkeypatch.setattr(shared_look, "join_networks", refuse)
    assert make_all(["net", "inner"]) == {name: alone[name] for name in ("net", "inner")}
    assert "test_resnet is looked at by each backbone" in caplog.text
    assert sum(seen) >= 2 * ROWS


def choose(name: str, *overrides: str) -> set[str]:
    params = load_params(TrainParams, overrides)
    settings = {own: params.resolve_backbone(own) for own in params.backbones}
    found = choose_companions(settle_network(settings[name]), settings.values())
    read = [(own.model, find_reading(own)) for own in found]
    return {own for own, raw in settings.items() if (raw.model, find_reading(raw)) in read}


@pytest.mark.parametrize("name", TOGETHER)
def test_companions_read_the_same_encoder_elsewhere(name: str) -> None:
    assert choose(name) == set(TOGETHER[name])


@pytest.mark.parametrize(
    "override",
    [
        "backbones.inner.model=no_such_network",
        "backbones.inner.images.mode=crop",
        "backbones.inner.network.input=srm",
        "backbones.inner.pretrained=other.safetensors",
        "backbones.inner.layer=null",
        "backbones.inner={model: test_resnet}",
    ],
)
def test_who_reads_something_else_or_the_same_is_none(override: str) -> None:
    assert choose("net", override) == {"highest"}


def test_a_layer_that_is_not_there_is_the_matter_of_its_own_training(seen: list[int]) -> None:
    write_backbones(Path(), BACKBONES | {"inner": {**BACKBONES["inner"], "layer": 40}})
    train("net")
    assert sum(seen) >= 90


@pytest.mark.parametrize(
    ("outer", "inner", "is_so"),
    [
        ([(0, 9)], [(2, 5), (7, 9)], True),
        ([(0, 4), (5, 9)], [(2, 5)], False),
        ([], [(0, 1)], False),
        ([(0, 1)], [], True),
    ],
)
def test_ranges_within_ranges(outer: list, inner: list, is_so: bool) -> None:
    assert covers(outer, inner) is is_so
