"""`train` or `dump` where the pictures of the second process take `SECONDS` to open; with `LOST` it
is killed meanwhile. Run by `test_slow_machine.py`."""

import os
import signal
import sys
import time
from importlib import import_module

from features.runtime.cli import run_stage

STAGE = f"stage1_cnn.{sys.argv.pop(1)}"
run = import_module(f"{STAGE}.run")
really_open = run.open_member_store


def open_slowly(*arguments: object) -> object:
    if os.environ["RANK"] == "1":
        time.sleep(float(os.environ["SECONDS"]))
        if "LOST" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
    return really_open(*arguments)


run.open_member_store = open_slowly
if __name__ == "__main__":
    run_stage(STAGE, import_module(f"{STAGE}.__main__").main)
