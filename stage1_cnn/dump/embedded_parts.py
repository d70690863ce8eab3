"""The parts of a dump of a frozen encoder: embeddings out of their cache, scored by the head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from features.core.manifest import Ids, Role
from features.runtime.interruption import Interruption
from features.settings.images import Images
from features.settings.scoring import Scoring
from stage1_cnn.dump.parts import PLAIN, Part, Task
from stage1_cnn.frozen.cache import Encoding, embed_rows
from stage1_cnn.frozen.embedded import Embedded, Head
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


def build_embedded_parts(
    task: Task, images: Images, processes: Processes, interruption: Interruption
) -> list[Part]:
    """The rows of each role that the member may be asked about. Raises `Stopped`."""
    rows = {role: rows.rows_to_dump(task.member.id.fold) for role, rows in task.manifests.items()}
    parts = _embed(task, task.scoring, images, rows, processes, interruption)
    if not task.is_plain:
        plain = task.scoring.model_copy(update={"tta": "none", "image_size": None})
        fold_rows: dict[Role, Ids] = {
            "train": task.manifests["train"].fold_rows(task.member.id.fold)
        }
        (part,) = _embed(task, plain, images, fold_rows, processes, interruption)
        parts.append(replace(part, name=PLAIN))
    return list(parts)


def _embed(
    task: Task,
    scoring: Scoring,
    images: Images,
    rows: Mapping[Role, Ids],
    processes: Processes,
    interruption: Interruption,
) -> list[EmbeddedPart]:
    network = load_network(task.member_dir, task.member)
    assert isinstance(network, FrozenNetwork)
    weight, bias = read_head(network.head)
    encoding = Encoding(task.member.settings, task.member.id.encoder, scoring, images)
    engine, head = encoding.build_engine(network, processes), Head(weight.numpy(), bias)
    return [
        EmbeddedPart(
            role,
            engine,
            embed_rows(
                encoding, engine, task.manifests[role], task.stores[role], processes, interruption
            ),
            head,
            row_ids,
        )
        for role, row_ids in rows.items()
    ]
