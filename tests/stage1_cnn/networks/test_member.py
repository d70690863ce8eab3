import numpy as np
import pytest
import torch
from small_task import make_settings

from features.core.members import Correction, MemberId
from features.errors import IntegrityError, MissingArtifactError
from stage1_cnn.networks.member import (
    FACTS,
    WEIGHTS,
    Member,
    load_network,
    read_member,
    write_member,
)
from stage1_cnn.networks.network import build_network


@pytest.fixture
def written(tmp_path):
    torch.manual_seed(0)
    network = build_network(make_settings())
    identity = MemberId("r", 0, "", "abc", Correction(shift=-1.25, gamma=2.0))
    judged = {"raw": {"auc": 0.75, "auc_low": None}}
    member = Member(identity, make_settings(), 10, 4, 6, 123, 7, judged)
    return network, write_member(network.state_dict(), member, tmp_path), tmp_path


def test_member_comes_back_as_it_was(written):
    network, member, folder = written
    found = read_member(folder, "r", 0)
    assert found == member
    assert len(found.id.digest) == 64
    loaded = load_network(folder, found).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


@pytest.mark.fault(
    "weights of a member cut, changed or of another network",
    "error that names the stage which makes them",
    "Damaged and foreign files",
)
@pytest.mark.parametrize("place", [8, -1])
def test_one_flipped_byte_is_noticed(written, place):
    _, _, folder = written
    content = np.fromfile(folder / WEIGHTS, dtype=np.uint8)
    content[place] ^= 1
    content.tofile(folder / WEIGHTS)
    with pytest.raises(IntegrityError, match=r"train@r-0"):
        read_member(folder, "r", 0)


def test_missing_weights_name_the_stage(written):
    _, _, folder = written
    (folder / WEIGHTS).unlink()
    with pytest.raises(MissingArtifactError, match=r"dvc repro train@r-0"):
        read_member(folder, "r", 0)


@pytest.mark.fault("weights of a member cut, changed or of another network")
def test_weights_of_another_network_are_named(written):
    _, member, folder = written
    other = make_settings(model="test_efficientnet")
    with pytest.raises(IntegrityError, match="do not fit test_efficientnet"):
        load_network(folder, Member(member.id, other, 10, 4, 6, 123, 7))


def test_a_shift_edited_by_hand_is_refused(written):
    _, _, folder = written
    path = folder / FACTS
    path.write_text(path.read_text().replace("-1.25", "-2.25"))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        read_member(folder, "r", 0)
