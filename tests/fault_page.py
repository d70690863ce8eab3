"""Writes docs/faults.md from the marks of tests: which faults are tried, and what happens then.

    python -m tests.fault_page

A test says `@pytest.mark.fault("a JPEG that was cut off", "quarantine", "Pictures")`: the fault,
what happens, and the part of the page. Further tests of the same fault name the fault alone.
"""

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "faults.md"
HEAD = """# What can go wrong

What people really hit, from broken pictures to a power cut. One of four things happens then:

- **error**: one clear message that names the thing, exit code 2, no traceback. For a stop from
  outside, exit code 75: the same command goes on.
- **quarantine**: the row goes to `quarantine.csv` with its reason and is counted; above
  `data.max_bad_fraction` of train or val the run ends with an error. Rows to be labelled keep
  their place and get the prior as their score; only if all of them are bad it is an error.
- **goes on**: the same command ends with the same bytes as if nothing had been.
- **warning**: the run goes on and says so in its log or its tables.

The tests say all of it: `make fault-page` writes this page from their marks. Those in
`tests/faults/` and a few that take long are run by `make test-faults`.
"""
SECTIONS = (
    "Pictures",
    "Label files",
    "Numbers and memory",
    "Disks, signals, kills",
    "Damaged and foreign files",
    "Settings and surroundings",
)
TAIL = """
## Not covered

| fault | why |
|---|---|
| a loader's worker that hangs | threads load; a read that never returns (a dead network disk) stops the system's own call, which nobody can end from within |
| too little shared memory | threads share the pixels; NCCL, which does use it, needs several GPUs |
"""  # noqa: E501


@dataclass
class Fault:
    """A row of the page."""

    happens: str = ""
    section: str = ""
    tests: list[str] = field(default_factory=list)


def read_marks(path: Path) -> list[tuple[str, list[str]]]:
    """The arguments of each mark in a file, with the test that bears it."""
    tests = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    return [
        (f"{path.name}::{test.name}", [ast.literal_eval(argument) for argument in mark.args])
        for test in tests
        for mark in test.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault"
    ]


def collect_faults() -> dict[str, Fault]:
    """All faults by their words. Raises `ValueError` for one that is not told just once."""
    faults: dict[str, Fault] = defaultdict(Fault)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test, (words, *told) in read_marks(path):
            fault = faults[words]
            fault.tests.append(test)
            if told:
                if fault.happens:
                    raise ValueError(f"{words}: told by {fault.tests[0]} and by {test}")
                fault.happens, fault.section = told
    for words, fault in faults.items():
        if fault.section not in SECTIONS:
            raise ValueError(f"{words}: {fault.tests} do not say what happens, or where it belongs")
    return faults


def build_page() -> str:
    """The whole page."""
    faults, lines = collect_faults(), [HEAD]
    for section in SECTIONS:
        lines += [f"## {section}\n", "| fault | what happens | tests |", "|---|---|---|"]
        for words, fault in sorted(faults.items()):
            if fault.section == section:
                named = ", ".join(f"`{test}`" for test in fault.tests)
                lines.append(f"| {words} | {fault.happens} | {named} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
