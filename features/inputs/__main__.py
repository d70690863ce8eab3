"""Checks all of `params.yaml`, and notes what label files, pictures and weights are there now.

Runs at every `dvc repro`: these are named by params and may be absent, so they cannot be
dependencies of a DVC stage themselves.

Reads: params.yaml, data/demo, label files and class folders below data.root, data.label_overrides,
    tables of scores, pretrained weights
Writes: artifacts/inputs.json, artifacts/outside_inputs.json, artifacts/weights
Params: –
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.sections import apply_overrides, read_yaml


def main(overrides: Overrides = None) -> None:
    """Check params.yaml and note what the label files and class folders hold."""
    values = apply_overrides(read_yaml(), overrides)
    from features.inputs.run import OUT, run

    with claim(OUT, read_resume_dir(overrides)):
        run(values)


if __name__ == "__main__":
    run_stage("features.inputs", main)
