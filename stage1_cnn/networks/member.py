"""A trained member on disk: its weights as safetensors, and a JSON that says what they are.

network = load_network(folder, read_member(folder, "resnet", fold=0))
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from features.core.files import check_digest, digest_bytes, read_sealed, write_atomic, write_sealed
from features.core.members import Correction, MemberId
from features.errors import IntegrityError
from features.settings.training import MemberSettings
from stage1_cnn.networks.network import build_network

WEIGHTS = "weights.safetensors"
FACTS = "member.json"
_FORM = {
    "member": dict,
    "rows": int,
    "reals": int,
    "fakes": int,
    "parameters": int,
    "learned": int,
    "judged": dict,
    "settings": dict,
}


@dataclass(frozen=True)
class Member:
    """One network = backbone × fold, with what it learned from."""

    id: MemberId
    settings: MemberSettings
    rows: int
    reals: int
    fakes: int
    parameters: int
    learned: int
    """Of its parameters and low-rank updates."""
    judged: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Figures on the fold left out, of the last weights (`raw`) and of their average (`ema`)."""


def write_member(state: dict[str, Tensor], member: Member, folder: Path) -> Member:
    """Writes weights and facts; returns the member with the digest of its weights."""
    content = save({name: value.contiguous() for name, value in state.items()})
    with write_atomic(folder / WEIGHTS) as file:
        file.write(content)
    digest = digest_bytes(content)
    identity = replace(member.id, digest=digest)
    facts: dict[str, Any] = {
        "member": asdict(identity),
        "rows": member.rows,
        "reals": member.reals,
        "fakes": member.fakes,
        "parameters": member.parameters,
        "learned": member.learned,
        "judged": member.judged,
        "settings": member.settings.model_dump(),
    }
    write_sealed(folder / FACTS, facts)
    return replace(member, id=identity)


def read_member(folder: Path, backbone: str, fold: int) -> Member:
    """The facts of a member, its weights checked against their sha256 but not loaded."""
    stage = f"train@{backbone}-{fold}"
    facts = read_sealed(folder / FACTS, stage, _FORM)
    path = folder / WEIGHTS
    named = facts.pop("member")
    identity = MemberId(**{**named, "correction": Correction(**named["correction"])})
    check_digest(path, identity.digest, stage, FACTS)
    settings = MemberSettings.model_validate(facts.pop("settings"))
    return Member(identity, settings, **facts)


def load_network(folder: Path, member: Member) -> nn.Module:
    """The member's network with the weights that were kept, in evaluation mode."""
    network = build_network(member.settings, load=False)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        advice = f"Make it again: dvc repro -f train@{member.id.name}"
        reason = f"its weights do not fit {member.settings.model} ({error})"
        raise IntegrityError(folder / WEIGHTS, reason, advice) from error
    return network.eval()
