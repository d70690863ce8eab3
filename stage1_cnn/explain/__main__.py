"""Where in the pictures of the gallery each backbone sees signs of fake and of real: Grad-CAM.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization" (ICCV 2017), by captum: of the log-odds for fake, of their negative for real. Of each
backbone the member of the first active fold is asked, about the picture as it is, whatever the
views of `dump.tta`.

Reads: artifacts/gallery, artifacts/members, artifacts/manifest/val.parquet, images below data.root
Writes: artifacts/gradcam
Params: data.root, images.size, images.equalize, dump, folds.active, backbones
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.sections import load_params
from stage1_cnn.explain.settings import ExplainParams


def main(overrides: Overrides = None) -> None:
    """Show where in the pictures of the gallery the networks see signs of fake and of real."""
    params = load_params(ExplainParams, overrides)
    from stage1_cnn.explain.run import OUT, run

    with claim(OUT, read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("stage1_cnn.explain", main)
