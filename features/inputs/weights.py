"""Which files below `weights.root` the networks begin with."""

from pathlib import Path

from features.settings.training import MemberSettings, is_hub_name


def name_weights_file(settings: MemberSettings, model: str) -> Path | None:
    """Where the file of pretrained weights, or of a graph, lies or would lie; `None` where they
    come from elsewhere alone.

    In a folder it has the name of the network, which is called `model`.
    """
    place, root = settings.pretrained, Path(settings.weights.root)
    if settings.graph is not None:
        return root / settings.model
    if place is False or is_hub_name(place):
        return None
    path = root if place is True else root / str(place)
    return path / f"{model}.safetensors" if path.is_dir() else path
