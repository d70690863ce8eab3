"""The null model: how well reals and fakes are told apart by all but the picture.

What it reaches, a network may reach without having learned anything about forgery.

Reads: artifacts/manifest/train.parquet, artifacts/manifest/val.parquet
Writes: artifacts/null_model
Params: seed
"""

from features.null_model.settings import NullParams
from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Measure how well all but the picture tells the classes apart."""
    params = load_params(NullParams, overrides)
    from features.null_model.run import OUT, run

    with claim(OUT, read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("features.null_model", main)
