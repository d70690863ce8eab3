"""The way from a fresh machine to a working `.venv`: lock, package, `setup.sh`, `make`.

No test installs the dependencies. `setup.sh` runs for real, in a folder with a space and an "é",
makes a real venv (without pip, which takes 3 s), and finds a pip and a uv that only write down what
they were asked for.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("features", "serving", "stage1_cnn", "stage2_ensemble")
COPIED = (
    "Makefile",
    "setup.sh",
    "pyproject.toml",
    "requirements.lock",
    ".gitignore",
    ".dvc/config",
)
TARGETS = (
    "help",
    "demo",
    "setup",
    "test",
    "lint",
    "bench",
    "gpu-check",
    "carry",
    "clean",
    "lock",
)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

# Stand-ins, found through PYTHONPATH. The fake pip "installs" uv (which only writes a log) and the
# real dvc; FAKE_PIP and FAKE_UV say how they end.
FAKE_PIP = """
import os, sys
from pathlib import Path
if "install" in sys.argv:
    with open(os.environ["FAKE_LOG"], "a") as log:
        print("pip", *sys.argv[1:], file=log)
    if os.environ.get("FAKE_PIP") == "fails":
        sys.exit("no network")
    if sys.argv[-1] == ".venv/.uv.lock":
        uv = Path(".venv/bin/uv")
        uv.write_text('''#!/bin/sh
echo "uv $*" >>"$FAKE_LOG"
[ "${FAKE_UV:-}" != killed ] || kill -9 $PPID
[ "${FAKE_UV:-}" != "fails once" ] || [ -e tried ] || { >tried; exit 1; }
[ "${FAKE_UV:-}" != fails ] || { echo "error: no route to host" >&2; exit 1; }
''')
        uv.chmod(0o755)
        Path(".venv/bin/dvc").symlink_to(os.environ["REAL_DVC"])
"""
FAKE_PYTHON = f"""#!/bin/sh
[ "$*" = "-m venv .venv" ] || exec "{sys.executable}" "$@"
"{sys.executable}" -m venv --without-pip .venv
echo "#!$(pwd -P)/.venv/bin/python" >.venv/bin/pip
"""
UV_INSTALLS = [
    "uv pip install --python .venv/bin/python --require-hashes -r requirements.lock",
    "uv pip install --python .venv/bin/python --no-deps --no-build-isolation -e .",
]


class Project:
    """A copy of the set-up files, and the environment that its commands run in."""

    def __init__(self, folder: Path, fakes: Path) -> None:
        self.folder, self.fakes = folder, fakes
        for name in COPIED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.fake("pip/__init__.py", "")
        self.fake("pip/__main__.py", FAKE_PIP)
        self.fake("python", FAKE_PYTHON)
        (fakes / "python").chmod(0o755)
        self.log = fakes / "log"
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "GIT_", "DVC"))
        }
        self.env |= {
            "PYTHON": str(fakes / "python"),
            "PYTHONPATH": str(fakes),
            "FAKE_LOG": str(self.log),
            "REAL_DVC": str(Path(sys.executable).with_name("dvc")),
            "SKIP_DISK_CHECK": "1",
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
        }
        if shutil.which("git"):
            self.run("git", "init", "-q")

    def fake(self, name: str, text: str) -> None:
        path = self.fakes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def fake_command(self, name: str, text: str) -> None:
        self.fake(f"bin/{name}", f"#!/bin/sh\n{text}\n")
        (self.fakes / "bin" / name).chmod(0o755)
        self.env["PATH"] = f"{self.fakes / 'bin'}:{os.environ['PATH']}"

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs `command` in the folder; stdout and stderr come back as one text."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def setup(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", "setup", **env)

    def installs(self) -> list[str]:
        """What pip and uv were asked to install since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    @property
    def stamp(self) -> Path:
        return self.folder / ".venv" / ".setup-done"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "a b é", tmp_path / "fakes")


@pytest.fixture
def done(project: Project) -> Project:
    """A project whose set-up has run."""
    result = project.setup()
    assert result.returncode == 0, result.stdout
    project.installs()
    return project


# --- lock and ranges ---


def read_entries() -> list[str]:
    """Requirements with their options, each on one line."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]


def read_lock() -> list[Requirement]:
    return [Requirement(entry.partition(" --hash")[0]) for entry in read_entries()]


def direct_requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for listed in (PROJECT["dependencies"], *extras) for text in listed]


def is_active(marker: Marker | None, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return marker is None or marker.evaluate(environment)


def test_lock_holds_no_url() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not any(requirement.url for requirement in read_lock())
    options = re.findall(r"^\s*(-\S+?)(?:=| |$)", text, re.MULTILINE)
    assert set(options) == {"--hash"}, "no option such as --index-url"


def test_lock_names_the_sha256_of_every_file() -> None:
    for entry in read_entries():
        hashes = entry.split(" --hash=")[1:]
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text.strip()) for text in hashes), entry


def test_lock_pins_everything_exactly() -> None:
    for requirement in read_lock():
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == ["=="], str(requirement)
        assert "*" not in str(requirement.specifier)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_has_one_admitted_version_of_each_dependency(python: str) -> None:
    pins = [pin for pin in read_lock() if is_active(pin.marker, python)]
    for wanted in direct_requirements():
        name = canonicalize_name(wanted.name)
        versions = [
            next(iter(p.specifier)).version for p in pins if canonicalize_name(p.name) == name
        ]
        assert len(versions) == 1, f"{wanted}: {versions}"
        assert wanted.specifier.contains(versions[0]), f"{wanted}: {versions}"


def test_ranges_leave_room() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    for requirement in direct_requirements():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators - {"!="} == {">="}, requirement  # one version may be broken
    torch = next(r for r in direct_requirements() if r.name == "torch")
    assert torch.specifier.contains("2.9.0")


@needs_git
def test_no_file_names_a_registry_host() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository: no list of the tracked files")
    hosts = re.compile(
        rb"py" rb"pi\.org|python" rb"hosted|download\.py" rb"torch|ana" rb"conda\.org"
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [f.name for f in files if f.is_file() and hosts.search(f.read_bytes())]


# --- make ---


def test_help_is_the_default_and_lists_the_targets(project: Project) -> None:
    result = project.run("make")
    assert result.returncode == 0
    for target in TARGETS:
        assert re.search(rf"^make {target} +\w", result.stdout, re.MULTILINE), target


@pytest.mark.parametrize("target", [*TARGETS, "format", "clean-all"])
def test_targets_parse(project: Project, target: str) -> None:
    result = project.run("make", "-n", target)
    assert result.returncode == 0, result.stdout
    assert not (project.folder / ".venv").exists()


def test_setup_script_is_plain_sh() -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / "setup.sh")]).returncode == 0


def test_clean_keeps_venv_and_resume_state(project: Project) -> None:
    gone = ["artifacts/a", "data/demo/a", ".store/a", "features/__pycache__/a", ".mypy_cache/a"]
    kept = ["data/mine/a", ".resume/a", ".venv/lib/__pycache__/a", ".dvc/cache/a"]
    for name in gone + kept:
        path = project.folder / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert project.run("make", "clean").returncode == 0
    assert [name for name in gone + kept if (project.folder / name).exists()] == kept


def test_demo_runs_repro_then_summary_and_says_when_nothing_was_to_do(done: Project) -> None:
    dvc = done.folder / ".venv" / "bin" / "dvc"
    dvc.unlink()
    # The pause: times of files come in steps (about 4 ms), and the real dvc takes 0.5 s to start.
    script = 'sleep 0.1; mkdir -p artifacts; >artifacts/inputs.json; eval "$FAKE_STAGE"'
    dvc.write_text(f"#!/bin/sh\n{script}\n")
    dvc.chmod(0o755)
    summary = done.folder / "stage2_ensemble" / "summary.py"
    summary.parent.mkdir()
    summary.write_text("import sys; print('summary by', sys.prefix)")

    first = done.run("make", "demo", FAKE_STAGE=">artifacts/labels.csv")
    assert first.returncode == 0, first.stdout
    assert first.stdout.startswith("Demo: ")
    assert first.stdout.endswith(f"summary by {done.folder / '.venv'}\n")
    assert "every result was there" not in first.stdout

    second = done.run("make", "demo", FAKE_STAGE="true")
    assert "Nothing to do: every result was there and up to date." in second.stdout

    failed = done.run("make", "demo", FAKE_STAGE="exit 255")
    assert failed.returncode != 0
    assert "summary by" not in failed.stdout


def test_bench_runs_each_script_or_says_that_there_is_none(done: Project) -> None:
    assert "There is no benchmark" in done.run("make", "bench").stdout
    folder = done.folder / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "speed.py").write_text("import sys; print('speed', *sys.argv[1:])")
    assert "speed --quick" in done.run("make", "bench").stdout
    (folder / "speed.py").write_text("raise SystemExit(1)")
    assert done.run("make", "bench").returncode != 0


def test_carry_hands_its_files_on_or_says_how_it_is_used(done: Project) -> None:
    carry = done.folder / "features" / "carry"
    carry.mkdir(parents=True)
    (carry / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    name = "c d é/it's mine.tar"
    for option, given in (("--pack", f"OUT={name}"), ("--unpack", f"IN=/{name}")):
        result = done.run("make", "carry", given)
        assert result.stdout.splitlines()[-1] == str([option, given.partition("=")[2]])
    result = done.run("make", "carry", "IN=a.tar", "REPLACE=1", OUT="of the environment")
    assert result.stdout.splitlines()[-1] == "['--unpack', 'a.tar', '--replace']"
    alone = done.run("make", "carry", OUT="of the environment")
    assert alone.returncode != 0
    assert "make carry IN=carry.tar unpacks it in a fresh clone" in alone.stdout


def test_ci_lints_then_tests_and_passes_failures_on(project: Project) -> None:
    project.fake_command("make", 'echo "make $*"; [ "$1" != "$FAKE_BROKEN" ]')
    script = shutil.copytree(ROOT / ".ci", project.folder / ".ci") / "run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert project.run("bash", str(script), FAKE_BROKEN="").stdout == "make lint\nmake test\n"
    for broken in ("lint", "test"):
        assert project.run("bash", str(script), FAKE_BROKEN=broken).returncode != 0


# --- set-up: what it installs, and when ---


def test_setup_installs_the_lock_then_the_package(project: Project) -> None:
    result = project.setup()
    assert result.returncode == 0, result.stdout
    assert "needs about 8 GB of disk" in result.stdout.splitlines()[0]
    by_pip = "pip install --quiet --require-hashes -r .venv/.uv.lock"
    assert project.installs() == [by_pip, *UV_INSTALLS]
    assert str(project.folder) in project.stamp.read_text(encoding="utf-8")


def test_pip_takes_the_pinned_uv(project: Project) -> None:
    project.setup()
    pinned = project.folder / ".venv/.uv.lock"
    assert pinned.read_text().startswith("uv==")
    asked = [sys.executable, "-m", "pip", "download", "--no-index", "--no-deps", "-r", str(pinned)]
    bare = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    bare["PIP_CONFIG_FILE"] = os.devnull
    result = subprocess.run(asked, capture_output=True, text=True, cwd=project.folder, env=bare)
    # It gets as far as to look for the file: nothing is wrong with what it is asked for.
    assert "No matching distribution found for uv==" in result.stderr


def test_second_setup_does_nothing_and_says_so(done: Project) -> None:
    start = time.perf_counter()
    result = done.setup()
    assert time.perf_counter() - start < 2
    assert result.stdout == "Set-up: nothing to do, .venv is up to date\n"
    assert done.installs() == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_changed_file_installs_again_into_the_same_venv(done: Project, name: str) -> None:
    with open(done.folder / name, "a") as file:
        file.write("# changed\n")
    assert done.setup().returncode == 0
    assert done.installs() == UV_INSTALLS
    assert "nothing to do" in done.setup().stdout


def test_pip_goes_on_where_uv_fails(project: Project) -> None:
    result = project.setup(FAKE_UV="fails")
    assert result.returncode == 0, result.stdout
    assert "uv failed twice" in result.stdout
    assert "uv said:\n  error: no route to host\n" in result.stdout
    assert project.installs()[-2:] == [
        "pip install --require-hashes -r requirements.lock",
        "pip install --no-deps --no-build-isolation -e .",
    ]


def test_uv_is_tried_once_more(project: Project) -> None:
    result = project.setup(FAKE_UV="fails once")
    assert result.returncode == 0, result.stdout
    assert "trying once more" in result.stdout
    assert project.installs()[1:] == [UV_INSTALLS[0], *UV_INSTALLS]


def test_bytecode_that_commands_may_not_keep_is_made_at_once(project: Project) -> None:
    project.setup(PYTHONDONTWRITEBYTECODE="1")
    assert "--compile-bytecode" in project.installs()[1]


def test_failed_installation_leaves_no_stamp(project: Project) -> None:
    result = project.setup(FAKE_PIP="fails")
    assert result.returncode != 0
    assert "the installation failed" in result.stdout
    assert not project.stamp.exists()


def test_interrupted_setup_is_made_again(done: Project) -> None:
    (done.folder / "requirements.lock").write_text("# changed\n")
    assert done.setup(FAKE_UV="killed").returncode != 0
    assert not done.stamp.exists()
    leftover = done.folder / ".venv" / "half-written"
    leftover.touch()
    result = done.setup()
    assert "making it again" in result.stdout
    assert not leftover.exists()
    assert "nothing to do" in done.setup().stdout


def test_moved_folder_is_noticed(done: Project) -> None:
    done.folder = done.folder.rename(done.folder.with_name("c d ü"))
    result = done.setup()
    assert result.returncode == 0, result.stdout
    assert "making it again" in result.stdout
    assert str(done.folder) in done.stamp.read_text(encoding="utf-8")


def test_venv_without_stamp_is_kept_if_it_works(done: Project) -> None:
    done.stamp.unlink()
    mine = done.folder / ".venv" / "mine"
    mine.touch()
    assert done.setup().returncode == 0
    assert mine.exists()
    (done.folder / ".venv" / "bin" / "python").unlink()
    assert done.setup().returncode == 0
    assert not mine.exists()


def test_second_setup_waits_for_the_first(project: Project) -> None:
    if shutil.which("flock") is None:
        pytest.skip("flock is not installed")
    with open(project.folder / ".setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["sh", "setup.sh"],
            cwd=project.folder,
            env=project.env,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        lines: Iterator[str] = iter(second.stdout)
        assert any("waiting for another set-up" in line for line in lines)
        assert project.installs() == []
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert project.stamp.exists()


# --- set-up: what the machine lacks ---


def test_missing_packages_are_named_in_one_apt_line(project: Project) -> None:
    project.fake("ensurepip.py", "raise ImportError")
    result = project.setup()
    assert result.returncode != 0
    assert "sudo apt-get install python3-venv\n" in result.stdout
    project.fake("ctypes.py", "def CDLL(name): raise OSError(name)")
    expected = "python3-venv libgomp1" if sys.platform == "linux" else "python3-venv"
    assert f"sudo apt-get install {expected}\n" in project.setup().stdout
    assert not (project.folder / ".venv").exists()


def test_old_python_is_refused(project: Project) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        project.fake_command(name, "exit 1")
    result = project.setup(PYTHON="")
    assert result.returncode != 0
    assert "sudo apt-get install python3 python3-venv" in result.stdout
    assert "no such python" in project.setup(PYTHON="no such python").stdout


def test_full_disk_is_refused(project: Project) -> None:
    usage = "shutil._ntuple_diskusage(0, 0, 3_000_000_000)"
    project.fake("sitecustomize.py", f"import shutil\nshutil.disk_usage = lambda path: {usage}")
    result = project.setup(SKIP_DISK_CHECK="")
    assert result.returncode != 0
    assert "needs about 8 GB of disk, 2 GB are free" in result.stdout
    assert not (project.folder / ".venv").exists()


# --- git and DVC ---


@pytest.mark.fault("no git; a fresh clone", "works", "Settings and surroundings")
def test_dvc_is_told_where_there_is_no_git(project: Project) -> None:
    shutil.rmtree(project.folder / ".git", ignore_errors=True)
    assert project.setup().returncode == 0
    local = project.folder / ".dvc" / "config.local"
    assert "no_scm = true" in local.read_text()
    if shutil.which("git"):
        project.run("git", "init", "-q")
        assert "git found" in project.setup().stdout
        assert "no_scm" not in local.read_text()


@pytest.mark.fault(
    "a repository of another user, as in a container",
    "works without git, and says how to trust it",
    "Settings and surroundings",
)
@needs_git
def test_a_repository_of_another_user_is_told_with_the_command_that_trusts_it(
    project: Project,
) -> None:
    first = project.setup(GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert first.returncode == 0
    told = first.stdout
    assert "no git repository" not in told
    assert f"git config --global --add safe.directory '{project.folder.resolve()}'" in told
    assert "git found" in project.setup().stdout  # once it is trusted


@needs_git
def test_dvc_uses_git_where_there_is_one(done: Project) -> None:
    assert not (done.folder / ".dvc" / "config.local").exists()


@needs_git
def test_dvc_uses_no_git_that_ignores_the_folder(done: Project) -> None:
    """An archive unpacked inside someone else's repository: DVC would refuse an ignored lock."""
    (done.folder / ".gitignore").write_text("*\n")
    assert done.setup().returncode == 0
    assert "no_scm = true" in (done.folder / ".dvc" / "config.local").read_text()


@needs_git
def test_gitignore_takes_data_and_leaves_the_lock(project: Project) -> None:
    ignored = ["data/demo/a.jpg", "artifacts/metrics.json", ".store/a", ".resume/a", ".venv/bin/a"]
    ignored.append("carry.tar")
    tracked = [
        "dvc.lock",
        "dvc.yaml",
        "params.yaml",
        ".dvc/config",
        ".dvcignore",
        "features/data.py",
    ]
    result = project.run("git", "check-ignore", *ignored, *tracked)
    assert result.stdout.splitlines() == ignored


def test_dvc_looks_at_the_demo_data_alone(done: Project) -> None:
    shutil.copy(ROOT / ".dvcignore", done.folder)
    ignored = ["data/mine/a.jpg", ".store/a", ".resume/a", ".venv/bin/a"]
    watched = ["data/demo/a.jpg", "artifacts/metrics.json", "features/data.py"]
    result = done.run(".venv/bin/dvc", "check-ignore", *ignored, *watched)
    assert result.stdout.splitlines() == ignored


# --- the wheel ---


def test_wheel_holds_the_packages_and_imports(tmp_path: Path) -> None:
    source, wheels, target = (tmp_path / name for name in ("source", "wheels", "target"))
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    shutil.copytree(ROOT / "tests", source / "tests")
    shutil.copy(ROOT / "pyproject.toml", source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *flags, "-w", wheels, source], check=True)

    (wheel,) = wheels.glob("forgerystack-*-py3-none-any.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    pages = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.[chjm]*")
        if path.suffix in (".css", ".html", ".js", ".md")
    }
    assert len(pages) >= 9
    assert names == {path.relative_to(ROOT).as_posix() for path in modules | pages}

    subprocess.run([*pip, "install", *flags, "--target", target, wheel], check=True)
    code = "import features, stage2_ensemble; print(features.__file__, stage2_ensemble.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == [
        str(target / p / "__init__.py") for p in ("features", "stage2_ensemble")
    ]
