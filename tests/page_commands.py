"""The commands of the README and the guide, and whether they could run as they stand there.

A block between ```sh and ``` is executed on the tiny task by test_page_commands.py, unless a
comment `<!-- parsed only: why -->` stands before it. All blocks are parsed: modules, options,
subcommands of DVC and targets of make must be there.
"""

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import typer
from dvc.cli.parser import get_main_parser

from features.runtime.cli import Json, Quiet

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
TRUSTED = {"git", "grep", "cp", "mv", "mkdir", "cd", "export", "tar", "unzip", "."} | {
    "pip",
    "curl",
    "openssl",
    "torchrun",
    "dask",
}
"""Programs of which nothing is checked."""
BLOCK = re.compile(
    r"(?:<!-- parsed only: (?P<why>[^>]+?) -->\n+)?^```sh\n(?P<text>.*?)^```$", re.M | re.S
)
OPERATORS = {"|", "||", "&&", ";", "&"}


@dataclass(frozen=True)
class Block:
    """Commands that a reader copies together, one a line."""

    page: str
    commands: tuple[str, ...]
    why_not: str | None
    """Why they are not executed."""


def read_blocks(page: Path) -> list[Block]:
    """In their order; comments are taken off, lines that end with a backslash joined."""
    found = []
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        lines = block["text"].replace("\\\n", " ").splitlines()
        commands = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines]
        name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
        found.append(Block(name, tuple(filter(None, commands)), block["why"]))
    return found


def find_problem(command: str) -> str | None:
    """Why a command could not run; `None` if nothing speaks against it."""
    for words in _split_command(command):
        program, *rest = words
        if program == "python" and rest[:1] == ["-m"]:
            problem = _find_module_problem(rest[1], rest[2:])
        elif program == "forgerystack":
            problem = _find_module_problem(f"serving.{rest[0]}", rest[1:])
        elif program == "dvc":
            problem = _find_dvc_problem(rest)
        elif program == "make":
            problem = _find_make_problem(rest)
        else:
            problem = None if program in TRUSTED else f"{program}: not known to this test"
        if problem:
            return problem
    return None


def _split_command(command: str) -> Iterator[list[str]]:
    """The programs that it starts, without variables set before them."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in OPERATORS:
            words.append(word)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield words
        words = []


def _find_module_problem(name: str, words: list[str]) -> str | None:
    place = ROOT / name.replace(".", "/")
    path = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    if not path.is_file():
        return f"there is no module {name}"
    if not name.startswith("benchmarks."):
        options = list_options(name)
    else:
        options = set(re.findall(r"--[a-z-]+", path.read_text(encoding="utf-8")))
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in options:
            return f"{name} has no option {option}"
    return None


def list_options(module: str) -> set[str]:
    """Of a stage or tool."""
    app = typer.Typer(add_completion=False)
    if (ROOT / module.replace(".", "/")).is_dir():
        module += ".__main__"
    app.command()(importlib.import_module(module).main)
    command = typer.main.get_command(app)
    own = {name for param in command.params for name in param.opts}
    shared = {kind.__metadata__[0].default for kind in (Quiet, Json)}
    return own | shared | {"--help"}


def _find_dvc_problem(words: list[str]) -> str | None:
    said = StringIO()
    try:
        with redirect_stderr(said):
            get_main_parser().parse_args(words)
    except (SystemExit, argparse.ArgumentError) as end:
        if getattr(end, "code", 1):
            return f"dvc {' '.join(words)}: {said.getvalue().strip()[-200:]}"
    except Exception as error:  # DVC's own
        return f"dvc {' '.join(words)}: {error}"
    return None


def _find_make_problem(words: list[str]) -> str | None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        if "=" not in word and not re.search(rf"^{re.escape(word)}:", text, re.M):
            return f"make has no target {word}"
    return None
