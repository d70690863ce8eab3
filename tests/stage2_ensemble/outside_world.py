"""A synthetic world whose members are all from outside: tables of scores, and no networks."""

from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from synthetic_world import (
    Plan,
    World,
    build_world,
    run_stages,
    write_noise_features,
    write_params,
)

from features.artifacts.perturbed import Perturbed, write_perturbed
from features.core.manifest import Manifest, write_manifest
from features.outside import run as outside
from features.settings.members import MembersParams
from features.settings.sections import load_params

ROLES = ("train", "val", "test")


def build_outside_world(root: Path, plan: Plan, **signals: Mapping[str, float]) -> World:
    """`signals`: by detector its strength on each role; scores are `<detector>.csv`.

    No two rows have one name. `artifacts/outside` is still to be made.
    """
    made = build_world(root, Plan(**{**vars(plan), "strengths": {}}))
    manifests = {role: rename_rows(made, role) for role in ROLES}
    world = World(root, made.plan, truth=made.truth, **manifests)
    for place, (name, strengths) in enumerate(signals.items()):
        write_scores(world, name, strengths, seed=place)
    write_noise(world)
    declare(world, **dict.fromkeys(signals, "none"))
    return world


def rename_rows(world: World, role: str) -> Manifest:
    """The manifest of a role with its name before each of its names."""
    table = getattr(world, role).table
    named = {key: [f"{role}/{name}" for name in table[key]] for key in ("img_name", "path")}
    path = world.root / "artifacts" / "manifest" / f"{role}.parquet"
    return write_manifest(table.assign(**named), role, path)


def draw_scores(world: World, role: str, strength: float, seed: int) -> np.ndarray:
    """Log-odds as of members: `strength · ±1 + N(0, 1)`."""
    truth = world.truth[role]
    noise = np.random.default_rng([seed, ROLES.index(role)]).normal(size=len(truth))
    return strength * np.where(truth == 1, 1.0, -1.0) + noise


def write_scores(world: World, name: str, strengths: Mapping[str, float], seed: int) -> None:
    parts = [
        pd.DataFrame(
            {
                "img_name": getattr(world, role).table["img_name"],
                "score": expit(draw_scores(world, role, strengths[role], seed)),
            }
        )
        for role in ROLES
    ]
    pd.concat(parts).to_csv(world.root / f"{name}.csv", index=False)


def write_noise(world: World) -> None:
    """Forensic features of the renamed rows, and that no picture was perturbed."""
    for role in ROLES:
        write_noise_features(world.root, getattr(world, role))
    none = Perturbed(np.empty(0, np.int64), note="nobody can be asked")
    write_perturbed(none, world.val, world.root / "artifacts" / "perturbed")


def declare(world: World, **learned_from: str) -> None:
    """`params.yaml` with these detectors."""
    entries = {
        name: {"scores": f"{name}.csv", "kind": "probability", "learned_from": learned}
        for name, learned in learned_from.items()
    }
    write_params(world, outside=entries)


def drop_scores(world: World, name: str, role: str, rows: object) -> None:
    """Takes the scores of some rows of a role out of a detector's table."""
    path = world.root / f"{name}.csv"
    table = pd.read_csv(path)
    lost = getattr(world, role).table["img_name"].iloc[rows]
    table[~table["img_name"].isin(lost)].to_csv(path, index=False)


def run_outside(world: World) -> None:
    """The stage `outside` alone."""
    with chdir(world.root):
        outside.run(load_params(MembersParams))


def run_all(world: World) -> None:
    """All stages from `outside` to `label`."""
    run_outside(world)
    run_stages(world)
