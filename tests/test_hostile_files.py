"""Files that would run code when they are opened are refused, and nothing is run."""

import ast
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from small_task import make_settings

from features.core.files import digest_file, read_array
from features.core.members import Correction, MemberId
from features.errors import IntegrityError
from stage1_cnn.networks.member import WEIGHTS, Member, load_network, write_member
from stage1_cnn.networks.network import build_network
from stage1_cnn.runtime.checkpoints import Checkpoints

ROOT = Path(__file__).parent.parent


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Touch(path)))
    assert path.exists(), "it would run"
    path.unlink()
    return path


@pytest.mark.fault(
    "a state, an array or a model that is a malicious pickle",
    "refused",
    "Damaged and foreign files",
)
@pytest.mark.parametrize("save", [torch.save, joblib.dump])
def test_a_state_that_would_run_code_is_passed_over(tmp_path, canary, save, caplog):
    save({"model": Touch(canary)}, tmp_path / "it")
    digest = digest_file(tmp_path / "it")
    state = tmp_path / "states" / f"000000001-{digest[:32]}.pt"
    state.parent.mkdir()
    (tmp_path / "it").rename(state)
    assert Checkpoints(state.parent).load() is None
    assert "passed over" in caplog.text
    assert not canary.exists()


@pytest.mark.fault("a state, an array or a model that is a malicious pickle")
@pytest.mark.parametrize("mapped", [False, True])
def test_an_array_of_objects_is_refused_though_its_sum_is_right(tmp_path, canary, mapped):
    path = tmp_path / "val.logits.npy"
    np.save(path, np.array([Touch(canary)], object), allow_pickle=True)
    with pytest.raises(IntegrityError, match=r"val\.logits\.npy is damaged.*dvc repro -f dump"):
        read_array(path, digest_file(path), "dump", mapped=mapped)
    assert not canary.exists()


SAFE = {"torch.load": "weights_only", "np.load": "allow_pickle"}


@pytest.mark.fault("a state, an array or a model that is a malicious pickle")
def test_nothing_in_the_project_unpickles_files():
    """States are loaded as weights only, arrays without objects; joblib and pickle load nothing."""
    for package in ("features", "serving", "stage1_cnn", "stage2_ensemble"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                assert name not in ("joblib.load", "pickle.load", "pickle.loads"), path
                if name in SAFE:
                    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    wanted = {"weights_only": "True", "allow_pickle": "False"}[SAFE[name]]
                    assert given.get(SAFE[name]) == wanted, f"{path}: {ast.unparse(node)}"


@pytest.mark.fault(
    "weights whose header says more than there is", "error", "Damaged and foreign files"
)
@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (70).to_bytes(8, "little")
        + b'{"head.weight":{"dtype":"F32","shape":[9],"data_offsets":[0,999999]}}'.ljust(70),
    ],
)
def test_weights_with_a_hostile_header_are_refused(tmp_path, header):
    settings = make_settings()
    member = Member(MemberId("net", 0, "", "", Correction()), settings, 2, 1, 1, 1, 1)
    member = write_member(build_network(settings).state_dict(), member, tmp_path)
    (tmp_path / WEIGHTS).write_bytes(header)
    with pytest.raises(IntegrityError, match=r"weights\.safetensors is damaged.*train@net-0"):
        load_network(tmp_path, member)
