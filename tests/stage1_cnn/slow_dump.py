"""`python -m stage1_cnn.dump` in batches of two rows, each of which is kept, and takes `PAUSE`
seconds. Run by `test_dump_nodes.py`."""

import os
import time

from features.artifacts import row_blocks
from features.runtime.cli import run_stage
from stage1_cnn.dump.__main__ import main
from stage1_cnn.scoring import rows

rows.CPU_BATCH, row_blocks.SAVE_SECONDS = 2, 0.0
really_add = row_blocks.RowBlocks.add


def add(*arguments: object) -> None:
    time.sleep(float(os.environ["PAUSE"]))
    really_add(*arguments)


row_blocks.RowBlocks.add = add
if __name__ == "__main__":
    run_stage("stage1_cnn.dump", main)
