"""Names of timm's networks, in the forms in which people know them.

resolve_model_name("xception") == "legacy_xception"
resolve_model_name("hf-hub:timm/resnet50.a1_in1k") == "resnet50.a1_in1k"
"""

import difflib
import re
from collections.abc import Sequence

import timm
from timm.models import get_deprecated_models

from features.errors import ConfigError

_HUB = re.compile(r"^(hf[-_]hub:)?timm/")
_HINT = "timm.list_models('*resnet*') lists those with such a name"


def resolve_model_name(name: str) -> str:
    """What timm itself calls the network today, with the weights' tag that `name` stands for.

    Only by that name does timm tell a network's size and weights. Raises `ConfigError` with the
    nearest names.
    """
    known, old = _HUB.sub("", name), get_deprecated_models()
    known = old.get(known) or known
    architecture, _, tag = known.partition(".")
    if not timm.is_model(architecture) or architecture in old:
        meant = (old.get(architecture) or architecture).partition(".")[0]
        nearest = _list_nearest(meant, timm.list_models())
        raise ConfigError("backbones", [f"timm has no network {name!r}{nearest}"], _HINT)
    weights = timm.list_pretrained(f"{architecture}.*") if tag else []
    if tag and known not in weights:
        nearest = _list_nearest(known, weights)
        raise ConfigError("backbones", [f"timm has no weights {tag!r} of {architecture}{nearest}"])
    return known


def _list_nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean X or Y?`; empty where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
