"""Programs as forks of one process that has loaded torch and the rest: they start in a tenth of a
second instead of three.

All else is as ever: a program has its own folder, environment, output and exit code, loads the
project's code from its folder, and finds what it starts itself in PATH.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = Path(__file__).with_name("fork_client.py")
LOADED = (
    "captum.attr", "dvc.cli.parser", "dvc.repo", "jinja2", "joblib", "lightgbm",
    "matplotlib.figure", "optuna", "pandas", "PIL.Image", "pyarrow.parquet", "pydantic",
    "rich.table", "safetensors.torch", "scipy.fft", "scipy.ndimage", "scipy.optimize",
    "scipy.sparse.csgraph", "sklearn.cluster", "sklearn.ensemble", "sklearn.isotonic",
    "sklearn.linear_model", "sqlite3", "timm", "torch", "torchvision.io", "typer", "yaml",
)  # fmt: skip
"""What takes long to load, in commands of the project and in DVC; but for onnxruntime, which waits
in the end for threads that a fork lacks."""
SCRIPTS = {
    "python": '[ "$1" = -m ] || exec "{python}" "$@"\nshift\nexec {client} "$@"\n',
    "dvc": 'exec {client} dvc "$@"\n',
    "forgerystack": 'exec {client} serving "$@"\n',
}


@contextmanager
def serve_forks(folder: Path) -> Iterator[Path]:
    """Within, a folder of programs that takes the place of `.venv/bin` in PATH."""
    place = folder / "socket"
    client = f'"{sys.executable}" -IS "{CLIENT}" "{place}"'
    (programs := folder / "bin").mkdir()
    for name, text in SCRIPTS.items():
        text = "#!/bin/sh\n" + text.format(python=sys.executable, client=client)
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    command = [sys.executable, __file__, str(place)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == b"ready\n"
            yield programs
        finally:
            server.terminate()


def wait_for_program(place: str) -> socket.socket:
    """Loads modules, says so, and answers for ever; returns in a child for each program."""
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # what children would write into is copied
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for children
        while True:
            connection, _ = listening.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return connection
            connection.close()


def become_program(connection: socket.socket) -> list[str]:
    """Returns the words of the program in a child of its own; tells its exit code in the end."""
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile(encoding="ascii") as text:
        folder, environment, words = json.load(text)
    if child := os.fork():
        for file in files:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return words


def run_module(words: list[str]) -> int:
    """Runs a module as `python -m` does; its exit code.

    All is done that Python does in the end, but for freeing what was loaded: pages that are shared
    with the server would be copied for that, which takes two seconds.
    """
    sys.argv = words
    own = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [os.getcwd(), *filter(None, own.split(os.pathsep))]
    code = 0
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    os._exit(run_module(become_program(wait_for_program(sys.argv[1]))))
