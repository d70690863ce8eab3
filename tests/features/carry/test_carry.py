"""Carrying a project: what is packed, what is refused, and that nothing is lost or half done."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from features.carry import archive, unpacking
from features.carry.__main__ import main
from features.carry.archive import Facts, Listing
from features.carry.contents import list_changed_code
from features.carry.run import pack_project, unpack_project
from features.core.files import digest_bytes
from features.errors import CarryError, ConfigError, IntegrityError, LockedError, PipelineError

ROOT = Path(__file__).parents[3]
CARRY = Path("../carry é.tar")
CODE = b"pass\n"
NEVER = (
    ".resume/ab.lock", ".resume/ab.pid", ".resume/t/.1.pt.tmp-99999999", ".store/images.bin",
    "artifacts/store/images.bin", "data/mine/x.jpg", ".dvc/tmp/x",
)  # fmt: skip
"""Files of the project below that are not carried, beside an object that `dvc.lock` lacks."""


def write(name: str | Path, content: bytes) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)


def add_object(content: bytes, suffix: str = "") -> str:
    """Puts `content` into DVC's cache and returns its md5."""
    md5 = hashlib.md5(content).hexdigest() + suffix
    write(Path(".dvc/cache/files/md5", md5[:2], md5[2:]), content)
    return md5


def make_clone(folder: Path) -> None:
    """What git holds of a project; it becomes the working folder."""
    folder.mkdir()
    os.chdir(folder)
    write("dvc.yaml", b"stages: {}\n")
    write("features/code.py", CODE)


def make_results() -> None:
    """Results of a stage, of a stopped training and by hand, and `NEVER`."""
    outs = []
    for folder, names in (("artifacts/many", ("a é", "b/c")), ("data/demo", ("1.png", "2.png"))):
        contents = {name: f"{folder} {name}\n".encode() * 99 for name in names}
        for name, content in contents.items():
            write(f"{folder}/{name}", content)
        listing = [{"md5": add_object(c), "relpath": name} for name, c in contents.items()]
        outs.append({"path": folder, "md5": add_object(json.dumps(listing).encode(), ".dir")})
    write("artifacts/one.json", b"{}")
    outs.append({"path": "artifacts/one.json", "md5": add_object(b"{}")})
    deps = [{"path": "features/code.py", "md5": hashlib.md5(CODE).hexdigest()}]
    stages = {"all": {"cmd": "true", "deps": deps, "outs": outs}}
    write("dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}).encode())
    write("params.yaml", b"seed: 1\nimages: {size: 48, store_dir: artifacts/store}\n")
    write("artifacts/by hand/x", random.Random(0).randbytes(3000))
    write("artifacts/by hand/empty", b"")
    write(".resume/train-a-0-ab/000000010-cd.pt", random.Random(1).randbytes(5000))
    for name in NEVER:
        write(name, b"99999999\n")
    add_object(b"a result of other settings")


def read_tree() -> dict[str, bytes]:
    """Every file of the working folder but git's."""
    files = [p for p in Path().rglob("*") if p.is_file() and p.parts[0] != ".git"]
    return {path.as_posix(): path.read_bytes() for path in files}


@contextmanager
def refused(kind: type[PipelineError], match: str) -> Iterator[None]:
    """Expects an error, and that no file of the working folder has changed."""
    before = read_tree()
    with pytest.raises(kind, match=match):
        yield
    assert read_tree() == before


@pytest.fixture
def project(tmp_path, monkeypatch) -> Iterator[Path]:
    """The working folder: a project with results."""
    monkeypatch.chdir(tmp_path)
    make_clone(tmp_path / "a b é")
    make_results()
    yield Path.cwd()
    assert not [*tmp_path.rglob(".*.tar.tmp-*"), *tmp_path.rglob(".dvc/tmp/carry-*")]


@pytest.fixture
def clone(project, tmp_path) -> Path:
    """The working folder: a fresh clone beside a carry file of the project."""
    pack_project(CARRY)
    make_clone(tmp_path / "fresh")
    return Path.cwd()


# --- what is carried ---


def test_a_fresh_clone_gets_what_is_carried_and_nothing_else(clone, project):
    unpack_project(CARRY)
    objects = [path for path in Path(".dvc/cache").rglob("*") if path.is_file()]
    assert len(objects) == 7
    assert {path.stat().st_mode & 0o777 for path in objects} == {0o444}
    found = read_tree()
    os.chdir(project)
    md5 = add_object(b"a result of other settings")
    left = {*NEVER, f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"}
    assert found == {name: content for name, content in read_tree().items() if name not in left}


def test_each_content_is_packed_once_under_the_name_of_its_first_file(project):
    listing = pack_project(CARRY)
    with tarfile.open(CARRY, "r:") as tar:
        names = tar.getnames()
        contents = {tar.extractfile(name).read() for name in names}
    assert len(names) == len(contents) < len(listing.files)
    assert {"params.yaml", "artifacts/by hand/x", ".resume/train-a-0-ab/000000010-cd.pt"} < {*names}
    assert "artifacts/one.json" not in names  # it lies in DVC's cache
    assert list(listing.files)[-2:] == ["params.yaml", "dvc.lock"]


def test_packing_tells_sizes_and_how_to_go_on(project, caplog):
    caplog.set_level("INFO")
    pack_project(CARRY)
    lines = [" ".join(line.split()) for line in caplog.messages]
    assert ".dvc/cache/files/md5 7 files 0.0 MB" in lines
    assert "artifacts 5 files 0.0 MB, 3 with a content that is packed already" in lines
    assert "never packed: decoded images (made again), data other than data/demo" in lines
    assert lines[-2:] == ["make carry IN='carry é.tar'", "dvc repro"]


def test_packing_again_replaces_the_file(project):
    pack_project(CARRY)
    write("artifacts/more", b"more")
    pack_project(CARRY)
    assert "artifacts/more" in archive.read_listing(CARRY).files


def test_a_fuller_file_is_not_replaced_by_an_emptier_one(project):
    pack_project(CARRY)
    full = CARRY.read_bytes()
    shutil.rmtree("artifacts")
    with refused(CarryError, "it holds 5 files that are not here: artifacts/by hand/empty"):
        pack_project(CARRY)
    with pytest.raises(CarryError, match="REPLACE=1"):
        pack_project(CARRY)
    assert CARRY.read_bytes() == full
    pack_project(CARRY, replace=True)
    assert "artifacts/one.json" not in archive.read_listing(CARRY).files


def test_states_of_a_training_are_superseded_but_not_lost(project):
    pack_project(CARRY)
    Path(".resume/train-a-0-ab/000000010-cd.pt").rename(".resume/train-a-0-ab/000000020-ef.pt")
    pack_project(CARRY)
    shutil.rmtree(".resume")
    with refused(CarryError, "it holds 1 files that are not here: .resume/"):
        pack_project(CARRY)
    write("artifacts/members/a/0/weights", b"what the training became")
    pack_project(CARRY)


def test_a_tar_of_somebody_else_is_not_replaced(project):
    with tarfile.open(CARRY, "w") as tar:
        tar.add("dvc.yaml")
    mine = CARRY.read_bytes()
    with refused(CarryError, "it exists, and is no whole carry file"):
        pack_project(CARRY)
    assert CARRY.read_bytes() == mine


def test_a_lock_file_of_another_form_is_told(project):
    write(
        "dvc.lock", b"stages: {all: {cmd: x, outs: [{path: a}], deps: [{path: features/code.py}]}}"
    )
    match = (
        r"dvc.lock: 2 problems\n  stages.all.deps.0.md5: missing\n  stages.all.outs.0.md5: missing"
    )
    with refused(ConfigError, match):
        pack_project(CARRY)
    with refused(ConfigError, match):
        list_changed_code()


def test_a_list_that_is_too_large_is_not_read(project, monkeypatch):
    pack_project(CARRY)
    monkeypatch.setattr(archive, "LARGEST_LIST", 100)
    monkeypatch.setattr(archive, "digest_bytes", None)  # of what was read
    with pytest.raises(IntegrityError, match="its list is larger than 100 bytes"):
        archive.read_listing(CARRY)


def test_links_are_packed_as_what_they_lead_to(clone, project):
    """DVC may link to its cache, and a user may put a folder on another disk."""
    os.chdir(project)
    shutil.move("artifacts/many", "../elsewhere")
    Path("artifacts/many").symlink_to("../../elsewhere")
    Path("artifacts/link").symlink_to("one.json")
    pack_project(CARRY)
    os.chdir(clone)
    unpack_project(CARRY)
    assert not Path("artifacts/link").is_symlink()
    assert Path("artifacts/link").read_bytes() == b"{}"
    assert Path("artifacts/many/b/c").is_file()


def test_a_project_without_results_is_carried_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clone(tmp_path / "new")
    write("params.yaml", b"seed: 1\n")
    pack_project(CARRY)
    make_clone(tmp_path / "fresh")
    unpack_project(CARRY)
    here = {"dvc.yaml": b"stages: {}\n", "features/code.py": CODE}
    assert read_tree() == here | {"params.yaml": b"seed: 1\n"}


def test_dvc_has_nothing_to_do_where_results_were_unpacked(tmp_path, monkeypatch, programs):
    monkeypatch.chdir(tmp_path)
    stages = {
        "file": {"cmd": "echo 1 > artifacts/one", "deps": ["features/code.py"],
                 "outs": ["artifacts/one"]},
        "folder": {"cmd": "mkdir artifacts/many; cp artifacts/one artifacts/many/a",
                   "deps": ["artifacts/one"], "outs": ["artifacts/many"]},
    }  # fmt: skip
    dvc = programs / "dvc"

    def make_project(name: str) -> None:
        make_clone(tmp_path / name)
        write("dvc.yaml", yaml.safe_dump({"stages": stages}).encode())
        subprocess.run([dvc, "init", "--no-scm", "--quiet"], check=True)

    make_project("packed")
    write("params.yaml", b"seed: 1\n")
    Path("artifacts").mkdir()
    subprocess.run([dvc, "repro", "--quiet"], check=True)
    results = {name: content for name, content in read_tree().items() if name[:4] == "arti"}
    assert results == {"artifacts/one": b"1\n", "artifacts/many/a": b"1\n"}
    pack_project(CARRY)

    make_project("unpacked")
    unpack_project(CARRY)
    assert results.items() <= read_tree().items()
    done = subprocess.run([dvc, "status", "--json"], check=True, capture_output=True)
    assert json.loads(done.stdout) == {}


def test_outputs_that_the_cache_lacks_or_that_are_damaged_there_are_told(project, caplog):
    hashes = [hashlib.md5(c).hexdigest() for c in (b"{}", b"artifacts/many a \xc3\xa9\n" * 99)]
    first, second = (Path(".dvc/cache/files/md5", md5[:2], md5[2:]) for md5 in hashes)
    first.unlink()
    second.write_bytes(b"x")
    listing = pack_project(CARRY)
    assert "their stages run again: artifacts/many, artifacts/one.json" in caplog.text
    assert second.as_posix() not in listing.files
    assert "artifacts/one.json" in listing.list_stored()


# --- what cannot be packed ---


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("artifacts/carry.tar", "it would lie in artifacts, which is packed"),
        ("features/../.resume/new/carry.tar", "it would lie in .resume"),
        (".dvc/tmp/carry.tar", "it would lie in .dvc"),
        ("features", "it is a folder"),
        ("dvc.lock", "it exists, and is no whole carry file"),
    ],
)
def test_a_target_that_would_do_harm_is_refused(project, target, match):
    with refused(CarryError, match):
        pack_project(Path(target))


@pytest.mark.parametrize("owner", [".resume/ab.pid", ".resume/ab.lock"])
def test_nothing_is_packed_or_unpacked_while_a_training_holds_its_lock(clone, project, owner):
    script = """
import os, sys
from filelock import FileLock
with FileLock(".resume/ab.lock"):
    with open(sys.argv[1], "w") as file:
        file.write(f"{os.getpid()}\\n")
    print(flush=True)
    sys.stdin.read()
"""
    os.chdir(project)
    Path(".resume/ab.pid").unlink()
    command = [sys.executable, "-c", script, owner]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with refused(LockedError, f"in use by process {holder.pid}. .* kill {holder.pid}"):
            pack_project(Path("../new folder/carry.tar"))
        with refused(LockedError, str(holder.pid)):
            unpack_project(CARRY)
        holder.stdin.close()
    assert not Path("../new folder").exists()
    pack_project(Path("../new folder/carry.tar"))


@pytest.mark.parametrize(
    ("fault", "kind", "match"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space"),
        (OSError("unexpected end of data"), CarryError, "by hand/x: 1 problem\n.*it changed"),
        (FileNotFoundError(errno.ENOENT, "gone"), CarryError, "it changed while it was packed"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failure_leaves_the_file_that_was_there(project, monkeypatch, fault, kind, match):
    pack_project(CARRY)
    before = CARRY.read_bytes()
    write("artifacts/more", b"more")
    add = tarfile.TarFile.addfile

    def fail(tar: tarfile.TarFile, member: tarfile.TarInfo, file: io.BytesIO) -> None:
        if member.name == "artifacts/by hand/x":
            raise fault
        add(tar, member, file)

    monkeypatch.setattr(tarfile.TarFile, "addfile", fail)
    with pytest.raises(kind, match=match):
        pack_project(CARRY)
    assert CARRY.read_bytes() == before


def test_states_that_lie_elsewhere_are_not_forgotten(project):
    write("params.yaml", b"resume_dir: /kaggle/temp/resume\n")
    with refused(ConfigError, "resume_dir: /kaggle/temp/resume"):
        pack_project(CARRY)


def test_what_killed_processes_left_goes(clone, project):
    os.chdir(project)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    write(f"../.{CARRY.name}.tmp-{gone}", b"half")
    write(f".dvc/tmp/carry-{gone}/x", b"half")
    pack_project(CARRY)
    unpack_project(CARRY)
    assert not Path(f"../.{CARRY.name}.tmp-{gone}").exists()
    assert Path(".dvc/tmp/x").exists()


# --- what cannot be unpacked ---


def test_a_file_that_was_cut_is_refused(clone):
    content = CARRY.read_bytes()
    with tarfile.open(CARRY) as tar:
        last = tar.getmembers()[-1]
    sizes = [0, 1, 511, 512, 513, last.offset - 1, last.offset, last.offset_data, len(content) // 2]
    for size in [*sizes, last.offset_data + last.size - 1]:
        CARRY.write_bytes(content[:size])
        with refused(IntegrityError, "is damaged: "):
            unpack_project(CARRY)


def test_no_flipped_byte_changes_what_is_unpacked(clone, tmp_path):
    """Refused as a whole, or harmless: in a date, or in the filling between members."""
    content = CARRY.read_bytes()
    fresh = read_tree()
    with tarfile.open(CARRY) as tar:
        members = tar.getmembers()
    rng = random.Random(0)
    inside = [rng.randrange(m.offset_data, m.offset_data + m.size) for m in members if m.size]
    headers = [m.offset + i for m in members[:2] for i in range(0, 512, 13)]
    anywhere = [rng.randrange(len(content)) for _ in range(40)]
    unpack_project(CARRY)
    right = read_tree()
    for number, place in enumerate([*inside, *headers, *anywhere]):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        CARRY.write_bytes(changed)
        make_clone(tmp_path / f"fresh {number}")
        try:
            unpack_project(CARRY)
        except IntegrityError:
            assert read_tree() == fresh
        else:
            assert place not in inside
            assert read_tree() == right


def test_a_list_that_was_changed_is_refused(clone):
    content = CARRY.read_bytes()
    assert content.count(b"artifacts/many/b/c") == 1  # in the list alone: its content is an object
    CARRY.write_bytes(content.replace(b"artifacts/many/b/c", b"artifacts/many/b/d"))
    with refused(IntegrityError, "its list was changed"):
        unpack_project(CARRY)


def make_carry(files: dict[str, bytes], *members: tarfile.TarInfo, folders: tuple = ()) -> None:
    """A carry file that is whole, but made by someone else. `members` stand beside the files."""
    facts = {name: Facts(len(c), digest_bytes(c)) for name, c in files.items()}
    content = Listing(files=facts, folders=list(folders)).model_dump_json().encode()
    with tarfile.open(CARRY, "w") as tar:
        for member in members:
            tar.addfile(member)
        for name, each in {**files, f"carry-{digest_bytes(content)}.json": content}.items():
            member = tarfile.TarInfo(name)
            member.size = len(each)
            tar.addfile(member, io.BytesIO(each))


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "artifacts/../../x", "artifacts/../features/code.py", "./params.yaml",
     "features/code.py", ".git/hooks/post-checkout", ".dvc/config", ".dvc/tmp/x", "artifacts",
     ".dvc/cache/runs/x", "dvc.yaml", "artifacts//x", "params.yaml/x", "artifacts/\n"],
)  # fmt: skip
def test_a_file_for_another_place_is_refused(clone, name):
    make_carry({"artifacts/a": b"a", name: b"hostile"})
    with refused(PipelineError, "is no plain path inside|is nothing that is carried"):
        unpack_project(CARRY)
    make_carry({"artifacts/a": b"a"}, folders=("../..",))
    with refused(CarryError, "is no plain path"):
        unpack_project(CARRY, replace=True)


@pytest.mark.parametrize(
    "kind", ["LNKTYPE", "SYMTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "DIRTYPE"]
)
def test_a_member_that_is_no_plain_file_is_refused(clone, kind):
    member = tarfile.TarInfo("artifacts/b")
    member.type, member.linkname = getattr(tarfile, kind), "/etc/passwd"
    make_carry({"artifacts/a": b"a"}, member)
    with refused(IntegrityError, "more than plain files in it: artifacts/b"):
        unpack_project(CARRY)


def test_members_and_list_have_to_agree(clone):
    make_carry({"artifacts/a": b"a"}, tarfile.TarInfo("artifacts/b"))
    with refused(IntegrityError, "its members are not those of its list"):
        unpack_project(CARRY)
    make_carry({"artifacts/a": b"a", "artifacts/a/b": b"b"})
    with refused(CarryError, "artifacts/a is a file and a folder"):
        unpack_project(CARRY)
    with tarfile.open(CARRY, "w") as tar:
        tar.add("dvc.yaml")
    with refused(IntegrityError, "no list at its end"):
        unpack_project(CARRY)
    with refused(CarryError, "there is no such file"):
        unpack_project(Path("none.tar"))


def test_a_list_of_a_later_form_is_refused(clone):
    content = b'{"form": 2, "files": {}, "folders": []}'
    with tarfile.open(CARRY, "w") as tar:
        member = tarfile.TarInfo(f"carry-{digest_bytes(content)}.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with refused(IntegrityError, "of another form"):
        unpack_project(CARRY)


def test_a_full_disk_is_told_before_anything_is_touched(clone, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage(10_000))
    monkeypatch.setattr(unpacking, "open_staging", None)
    with refused(CarryError, "it needs 0.0 GB of disk, 0.0 GB are free"):
        unpack_project(CARRY)
    assert not Path(".dvc").exists()


# --- what is there already ---


def test_unpacking_twice_changes_nothing(clone, caplog):
    unpack_project(CARRY)
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    caplog.set_level("INFO")
    unpack_project(CARRY)
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file()} == before
    assert " 0 files unpacked, 17 were there already" in caplog.text


def test_an_unpacking_that_was_killed_goes_on(clone, monkeypatch):
    move = unpacking._move

    def be_killed(ready: Path, target: Path) -> None:
        if target.name == "params.yaml":
            raise KeyboardInterrupt
        move(ready, target)

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_move", be_killed)
        with pytest.raises(KeyboardInterrupt):
            unpack_project(CARRY)
    assert Path("artifacts/one.json").exists()
    assert not Path("dvc.lock").exists()  # the last one
    unpack_project(CARRY)
    assert Path("dvc.lock").exists()


def test_other_content_is_not_replaced_unless_told(clone, caplog):
    unpack_project(CARRY)
    right = read_tree()
    changed = ["artifacts/one.json", "artifacts/many/a é", "params.yaml", "dvc.lock"]
    changed += [".resume/train-a-0-ab/000000010-cd.pt"]
    for name in changed:
        write(name, b"[]")  # as long as one.json is
    write("artifacts/many/stray", b"it would make the stage run again")
    write("artifacts/mine", b"in nobody's way")
    with refused(CarryError, "carry é.tar: 6 problems\n"):
        unpack_project(CARRY)
    with pytest.raises(CarryError, match="REPLACE=1") as raised:
        unpack_project(CARRY)
    for name in changed:
        assert f"  {name} has other content here\n" in str(raised.value)
    caplog.set_level("INFO")
    unpack_project(CARRY, replace=True)
    assert read_tree() == right | {"artifacts/mine": b"in nobody's way"}
    assert "removed: artifacts/many/stray" in caplog.text


def test_of_many_problems_the_first_ten_are_listed(clone, project):
    os.chdir(project)
    for i in range(12):
        write(f"artifacts/n/{i:02}", b"%d" % i)
    pack_project(CARRY)
    for i in range(12):
        write(f"artifacts/n/{i:02}", b"other")
    with refused(CarryError, "12 problems\n(  .* has other content here\n){10}  … and 2 more"):
        unpack_project(CARRY)


def test_a_link_is_replaced_and_not_what_it_leads_to(clone):
    write("../precious", b"precious")
    Path("artifacts").mkdir()
    Path("artifacts/one.json").symlink_to("../../precious")
    unpack_project(CARRY, replace=True)
    assert Path("../precious").read_bytes() == b"precious"
    assert Path("artifacts/one.json").read_bytes() == b"{}"


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_in_the_way_is_never_removed(clone, replace):
    write("artifacts/one.json/mine", b"mine")
    write(".resume", b"mine")
    with refused(CarryError, "the project: 2 problems"):
        unpack_project(CARRY, replace)
    with pytest.raises(CarryError, match=r"the folder artifacts/one\.json is in the way"):
        unpack_project(CARRY, replace)


def git(*command: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *command], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_git_holds_is_replaced_without_a_word(clone):
    for name in ("params.yaml", "dvc.lock"):
        write(name, b"{}\n")
    git("init", "-q")
    with refused(CarryError, "dvc.lock has other content here"):
        unpack_project(CARRY)  # git knows neither
    git("add", "params.yaml")
    git("commit", "-qm", "first")
    with refused(CarryError, "1 problem\n  dvc.lock has other content here"):
        unpack_project(CARRY)  # it is not tracked
    git("add", "dvc.lock")
    with refused(CarryError, "dvc.lock has other content here"):
        unpack_project(CARRY)  # it is not committed
    git("commit", "-qm", "second")
    write("params.yaml", b"seed: 5\n")
    with refused(CarryError, "1 problem\n  params.yaml has other content here"):
        unpack_project(CARRY)
    git("add", "params.yaml")
    with refused(CarryError, "1 problem\n  params.yaml has other content here"):
        unpack_project(CARRY)
    git("reset", "-q", "--hard")
    unpack_project(CARRY)
    assert Path("params.yaml").read_bytes().startswith(b"seed: 1\n")
    assert Path("dvc.lock").read_bytes() != b"{}\n"


def test_folders_on_another_disk_are_filled_too(clone, monkeypatch):
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        unpack_project(CARRY)
    assert Path("artifacts/by hand/x").stat().st_size == 3000
    assert Path("dvc.lock").exists()


def test_other_code_is_told(clone, caplog):
    write("features/code.py", b"other\n")
    unpack_project(CARRY)
    assert "code here is not what made the results: features/code.py. These stages" in caplog.text
    assert caplog.text.rstrip().endswith("start anew: all")


def test_other_code_in_a_room_is_told_and_bytecode_is_none(tmp_path, monkeypatch, programs):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / ".dvcignore", ".dvcignore")
    room = ("features/room/b.py", "features/room/a é.css", "features/room/__init__.py")
    for name in (*room, "features/room/__pycache__/b.pyc", "features/one.py", "data/demo/x"):
        write(name, CODE)
    deps = ["features/room", "features/one.py", "data/demo"]
    stages = {"all": {"cmd": "echo 1 > out", "deps": deps, "outs": ["out"]}}
    write("dvc.yaml", yaml.safe_dump({"stages": stages}).encode())
    dvc = programs / "dvc"
    for command in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([dvc, *command], check=True)
    assert list_changed_code() == {}

    write("features/room/__pycache__/b.pyc", b"other")
    write("features/room/__pycache__/c.pyc", b"new")
    write("data/demo/x", b"no code")
    assert list_changed_code() == {}
    status = subprocess.run([dvc, "status", "--json"], check=True, capture_output=True)
    assert json.loads(status.stdout) == {"all": [{"changed deps": {"data/demo": "modified"}}]}

    write("features/room/new.py", CODE)
    assert list_changed_code() == {"all": ["features/room"]}
    Path("features/room/new.py").unlink()
    assert list_changed_code() == {}
    write(room[0], b"other\n")
    Path("features/one.py").unlink()
    assert list_changed_code() == {"all": ["features/one.py", "features/room"]}
    shutil.rmtree("features/room")
    assert list_changed_code() == {"all": ["features/one.py", "features/room"]}


# --- the command ---


def call(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "features.carry", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_says_what_is_wrong_and_never_overwrites_by_itself(clone, project):
    shutil.rmtree("features")  # this project's is run
    write("params.yaml", b"mine")
    done = call("--unpack", str(CARRY))
    assert done.returncode == 2
    assert "params.yaml has other content here" in done.stderr
    assert "Traceback" not in done.stderr
    done = call("--unpack", str(CARRY.resolve()), "--replace")
    assert (done.returncode, done.stderr) == (0, "")
    assert "replaced: params.yaml" in done.stdout
    assert "Never packed: decoded images" in " ".join(call("--help").stdout.split())


def test_one_of_both_is_asked_for_in_a_project(clone):
    for files in ((None, None), (CARRY, CARRY)):
        with refused(ConfigError, "say either --pack FILE or --unpack FILE"):
            main(*files)
    Path("dvc.yaml").unlink()
    with refused(ConfigError, "is not the project's folder"):
        main(unpack=CARRY)
