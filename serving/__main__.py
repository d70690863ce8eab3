"""The program `forgerystack`: one word for each command of this package."""

import sys
from importlib import import_module
from importlib.metadata import version

from features.runtime.cli import run_stage
from features.settings.sections import suggest_name

COMMANDS = ("label", "explain", "serve", "diff", "verify", "bundle", "push")
DOCUMENTS = {"label", "diff"}
"""Those that print documents of their own with --json."""


def main() -> None:
    """`forgerystack COMMAND …` is `python -m serving.COMMAND …`."""
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in COMMANDS:
        command = import_module(f"serving.{word}.__main__").main
        del sys.argv[1]
        program = f"forgerystack {word}"
        run_stage(program, command, word in DOCUMENTS, program)
    elif word == "--version":
        print(f"forgerystack {version('forgerystack')}")
    elif word in ("--help", "-h"):
        print(describe_commands())
    else:
        print(f"forgerystack: no command {word!r}{suggest_name(word, COMMANDS)}", file=sys.stderr)
        print(describe_commands(), file=sys.stderr)
        raise SystemExit(2)


def describe_commands() -> str:
    """The command line, and the first sentence of what each command says of itself."""
    lines = ["forgerystack COMMAND [--help] …", "", "Commands:"]
    for word in COMMANDS:
        told = import_module(f"serving.{word}.__main__").main.__doc__ or ""
        lines.append(f"  {word:<9} {told.splitlines()[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
