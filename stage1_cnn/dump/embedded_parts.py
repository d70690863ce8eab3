"""The parts of a dump of a frozen encoder: embeddings out of their cache, scored by the head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from features.core.manifest import Ids, Role
from features.errors import ConfigError
from features.runtime.interruption import Interruption
from features.settings.images import Images
from features.settings.scoring import DumpParams, DumpSection, Scoring
from features.settings.sections import load_params
from features.settings.training import MemberSettings, TrainParams
from stage1_cnn.dump.parts import PLAIN, Part, Task
from stage1_cnn.frozen.cache import embed_rows
from stage1_cnn.frozen.embedded import Embedded, Head
from stage1_cnn.frozen.encoding import Encoding
from stage1_cnn.frozen.shared_look import SharedLook, choose_companions, open_shared_look
from stage1_cnn.networks.frozen_network import FrozenNetwork, read_head
from stage1_cnn.networks.member import load_network
from stage1_cnn.scoring.engines import Engine
from stage1_cnn.scoring.merging import ScoredRows
from stage1_cnn.scoring.processes import Processes


@dataclass(frozen=True)
class EmbeddedPart:
    """Rows whose embeddings are there."""

    name: str
    engine: Engine
    embedded: Embedded
    head: Head
    row_ids: Ids

    @property
    def has_crops(self) -> bool:
        """See `Part`."""
        return self.embedded.squares.counts is not None

    def score(self, start: int, stop: int, processes: Processes) -> Iterator[ScoredRows]:
        """See `Part`; every process has all of it."""
        return self.embedded.score(self.row_ids[start:stop], self.head)


def read_other_backbones(scoring: DumpSection) -> list[tuple[MemberSettings, Scoring]]:
    """All backbones of `params.yaml` and how they are scored; none where they cannot be read.

    They change no score, but whether one look at a picture serves several of them.
    """
    try:
        params = load_params(TrainParams)
    except ConfigError:
        return []
    return [
        (params.resolve_backbone(name), scoring.resolve_backbone(name)) for name in params.backbones
    ]


def build_embedded_parts(
    task: Task, params: DumpParams, processes: Processes, interruption: Interruption
) -> list[Part]:
    """The rows of each role that the member may be asked about. Raises `Stopped`."""
    others = read_other_backbones(params.dump)
    rows = {role: rows.rows_to_dump(task.member.id.fold) for role, rows in task.manifests.items()}
    alike = [settings for settings, scoring in others if scoring == task.scoring]
    look = _open_shared_look(task, task.scoring, params.images, processes, alike)
    parts = _embed(task, look, rows, interruption)
    if not task.is_plain:
        plain = task.scoring.model_copy(update={"tta": "none", "image_size": None})
        fold_rows: dict[Role, Ids] = {
            "train": task.manifests["train"].fold_rows(task.member.id.fold)
        }
        everyone = [settings for settings, _ in others]
        look = _open_shared_look(task, plain, params.images, processes, everyone)
        (part,) = _embed(task, look, fold_rows, interruption)
        parts.append(replace(part, name=PLAIN))
    return list(parts)


def _open_shared_look(
    task: Task,
    scoring: Scoring,
    images: Images,
    processes: Processes,
    others: list[MemberSettings],
) -> SharedLook:
    network = load_network(task.member_dir, task.member)
    assert isinstance(network, FrozenNetwork)
    settings = task.member.settings
    encoding = Encoding(settings, task.member.id.encoder, scoring, images)
    return open_shared_look(encoding, network, processes, choose_companions(settings, others))


def _embed(
    task: Task, look: SharedLook, rows: Mapping[Role, Ids], interruption: Interruption
) -> list[EmbeddedPart]:
    weight, bias = read_head(look.networks[0].head)
    head = Head(weight.cpu().numpy(), bias)
    return [
        EmbeddedPart(
            role,
            look.engine,
            embed_rows(look, task.manifests[role], task.stores[role], interruption),
            head,
            row_ids,
        )
        for role, row_ids in rows.items()
    ]
