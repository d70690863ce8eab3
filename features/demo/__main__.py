"""Stage `demo`: the embedded default, a small forgery task in exactly the reference layout.

Reals and fakes come from the same bundled photographs in the same proportions and share one chain;
only a local forgery differs. Folds go by tile of a photograph (column `tile`), photographs (column
`source`) never straddle roles, and one generator appears in val and test only.

Reads: –
Writes: data/demo
Params: data.root, demo
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import hold
from features.runtime.resume import read_resume_dir
from features.settings.demo import DemoParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Makes the embedded default in data/demo, or one line where data.root is another folder."""
    params = load_params(DemoParams, overrides)
    from features.demo.run import DEMO_ROOT, run

    with hold(DEMO_ROOT, read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("features.demo", main)
