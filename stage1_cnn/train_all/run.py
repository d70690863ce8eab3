"""What `python -m stage1_cnn.train_all` does."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from features.core.files import digest_file
from features.errors import ConfigError, DvcError, Stopped, TrainingError
from features.inputs.settings import AllParams
from features.runtime.cli import STOPPED
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.run_folder import digest_code
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.train.run import OUT, select_train_settings
from stage1_cnn.train_all.dvc_stages import commit
from stage1_cnn.train_all.plan import TRAIN, find_waiting
from stage1_cnn.train_all.process import Name, TrainingProcess, describe_surroundings
from stage1_cnn.train_all.side_by_side import Queue, SideBySide

_log = logging.getLogger("forgerystack")


class Keeper:
    """Starts trainings, keeps what they leave for DVC, and notes which have not come so far."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.stopped: list[Name] = []
        self.failures: list[str] = []
        self._environment = environment
        self._sources: dict[Name, tuple[object, ...] | None] = {}

    def start(self, name: Name, device: str) -> TrainingProcess:
        """A member's training on a device."""
        self._sources[name] = read_sources(name)
        _log.info("%s: on %s", name, device)
        return TrainingProcess(name, device, self._environment)

    def finish(self, training: TrainingProcess, code: int, asked: bool) -> None:
        """Keeps a member that is done; `asked`: all were asked to stop."""
        name = training.name
        if code == STOPPED or (code and asked):  # a signal may come before it can save, or too late
            self.stopped.append(name)
        elif code:
            self._note_failure(f"{name}: exit code {code}", training.find_error())
        else:
            self._keep(name)

    def _keep(self, name: Name) -> None:
        # DVC would take what it finds now for what the member was made from.
        sources = read_sources(name)
        if sources is None or sources != self._sources[name]:
            what = f"{name} was trained, but its settings, manifest or code have changed meanwhile"
            self._note_failure(what, "run it again")
            return
        try:
            commit(name.stage)
        except DvcError as error:
            self._note_failure(f"{name} is trained, but not kept", str(error))
        else:
            _log.info("%s: done, and kept for DVC", name)

    def _note_failure(self, what: str, why: str) -> None:
        self.failures.append(f"{what}: {why}".replace("\n", "\n    "))
        _log.error("%s", what)


def read_sources(name: Name) -> tuple[object, ...] | None:
    """What a member's training rests on as it is now: settings, manifest, code; `None` where they
    cannot be read."""
    try:
        settings = select_train_settings(load_params(TrainParams), name.backbone)
        return settings, digest_file(TRAIN), digest_code()
    except (ConfigError, OSError):
        return None


def run(
    params: AllParams, names: Sequence[Name], devices: Sequence[str], max_minutes: float | None
) -> None:
    """Trains those of the members that are not up to date. One that fails stops no other.

    Raises `TrainingError` with all failures, `Stopped`, `LockedError`; `MissingArtifactError` or
    `StaleArtifactError` for the manifest.
    """
    with hold(OUT, Path(params.resume_dir)), Interruption(max_minutes) as interruption:
        waiting = find_waiting(params, names)
        if not waiting:
            _log.info("up to date: %s", ", ".join(map(str, names)) or "there are no backbones")
            return
        _log.info("to train: %s; on %s", ", ".join(map(str, waiting)), ", ".join(devices))
        count = min(len(devices), len(waiting))
        keeper = Keeper(describe_surroundings(count, max_minutes))
        queue = Queue(waiting, devices)
        SideBySide(queue, keeper.start, keeper.finish, interruption).run()
        reason = interruption.find_reason()
    if keeper.stopped or queue.left:
        for failure in keeper.failures:
            _log.error("%s", failure)
        raise Stopped(
            f"with {', '.join(map(str, keeper.stopped + queue.left))} to go on ({reason})"
        )
    if keeper.failures:
        raise TrainingError(keeper.failures, len(waiting))
