"""Which members of a project are one network of its bundle."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from features.errors import BundleError
from features.settings.learning import Network
from serving.bundle import opening
from serving.bundle.opening import ProjectMember, open_networks, share_encoders
from stage1_cnn.networks.member import WEIGHTS, Member

TOWER = ["again-0", "again-1", "inner-0", "inner-1", "tower-0", "tower-1"]
"""Those that have one encoder."""


def test_an_encoder_is_loaded_once(
    members: dict[str, ProjectMember], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, build = [], opening.build_engine

    def note(member: Member, *rest):
        loaded.append(member.id.backbone)
        return build(member, *rest)

    monkeypatch.setattr(opening, "build_engine", note)
    networks = open_networks(list(members.values()))
    assert loaded == ["again", "places"]
    assert [len(network.members) for network in networks] == [6, 4]


def test_two_networks_of_one_name_are_refused(
    members: dict[str, ProjectMember], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As backbone `a-0`, whose folds are one, and fold 0 of `a`."""
    monkeypatch.setattr(opening.TorchNetwork, "name", "a-0")
    with pytest.raises(BundleError, match="two networks are called a-0"):
        open_networks(list(members.values()))


def test_a_network_of_many_backbones_has_a_name_that_a_disk_takes(
    members: dict[str, ProjectMember],
) -> None:
    [network] = open_networks([members[name] for name in TOWER])
    own = network.members[0]
    named = [replace(own, id=replace(own.id, backbone=f"layer_{i:03}")) for i in range(40)]
    assert replace(network, members=tuple(named)).name == "layer_000+39"
    assert replace(network, members=tuple(named[:3])).name == "layer_000+layer_001+layer_002"


def list_names(groups: list[tuple[ProjectMember, ...]]) -> list[list[str]]:
    return [[own.member.id.name for own in group] for group in groups]


def test_folds_of_other_encoders_have_files_of_their_own(
    members: dict[str, ProjectMember], caplog: pytest.LogCaptureFixture
) -> None:
    """As when the file of pretrained weights was changed between two trainings."""

    def share(encoder: str, *names: str) -> list[list[str]]:
        changed = {
            name: replace(
                own, member=replace(own.member, id=replace(own.member.id, encoder=encoder))
            )
            for name, own in members.items()
            if name in names
        }
        given = (members | changed)[names[0]], *(members | changed).values()
        chosen = [own for own in given[1:] if own.member.id.backbone in ("inner", "tower")]
        return list_names(share_encoders(chosen))

    assert share_encoders(list(members.values()))
    assert share("another", "tower-1") == [["inner-0", "inner-1"], ["tower-0"], ["tower-1"]]
    assert "the folds of tower have 2 encoders" in caplog.text
    caplog.clear()
    trained = share("", "tower-0", "tower-1")
    assert trained == [["inner-0", "inner-1"], ["tower-0"], ["tower-1"]]
    assert not caplog.text


def change_weights(own: ProjectMember, tmp_path: Path) -> ProjectMember:
    state = load_file(own.folder / WEIGHTS)
    name = next(name for name in state if name.startswith("encoder."))
    state[name] += 1
    save_file(state, tmp_path / WEIGHTS)
    member = replace(own.member, id=replace(own.member.id, encoder="another"))
    return replace(own, member=member, folder=tmp_path)


def change_views(own: ProjectMember, tmp_path: Path) -> ProjectMember:
    return replace(own, scoring=own.scoring.model_copy(update={"tta": "six"}))


def change_crops(own: ProjectMember, tmp_path: Path) -> ProjectMember:
    return replace(own, scoring=own.scoring.model_copy(update={"crops": 3}))


def change_side(own: ProjectMember, tmp_path: Path) -> ProjectMember:
    return replace(own, scoring=own.scoring.model_copy(update={"image_size": 40}))


def change_precision(own: ProjectMember, tmp_path: Path) -> ProjectMember:
    changes = {"network": Network(precision="bfloat16")}
    settings = own.member.settings.model_copy(update=changes)
    return replace(own, member=replace(own.member, settings=settings))


@pytest.mark.parametrize(
    "change", [change_weights, change_views, change_crops, change_side, change_precision]
)
def test_backbones_that_differ_in_more_than_what_they_read_share_nothing(
    members: dict[str, ProjectMember], tmp_path: Path, change
) -> None:
    tower, inner = members["tower-0"], members["inner-0"]
    assert list_names(share_encoders([tower, inner])) == [["tower-0", "inner-0"]]
    found = share_encoders([tower, change(inner, tmp_path)])
    assert list_names(found) == [["tower-0"], ["inner-0"]]


def test_what_is_resized_to_another_side_is_another_network(
    members: dict[str, ProjectMember], tmp_path: Path
) -> None:
    """Though both are shown the same squares."""
    places, quarters = members["places-0"], change_side(members["quarters-0"], tmp_path)
    assert places.sees == quarters.sees
    assert list_names(share_encoders([places, quarters])) == [["places-0"], ["quarters-0"]]


def test_readings_that_cannot_be_joined_have_files_of_their_own(
    members: dict[str, ProjectMember],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(networks: list, images: torch.Tensor) -> None:
        if len(networks) > 1:
            raise ValueError("layers that are read together say something else than alone")

    monkeypatch.setattr(opening, "join_networks", refuse)
    networks = open_networks([members[name] for name in TOWER])
    assert [network.name for network in networks] == ["again+tower", "inner"]
    assert "again, inner, tower have one encoder, but no file in common: layers" in caplog.text
