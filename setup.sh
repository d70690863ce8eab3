#!/bin/sh
# Makes .venv with the locked dependencies and the package. `make setup` runs it.
#
# Safe to run again: it does nothing when all is there, starts over when the last run was
# interrupted or the folder was moved, and installs anew when the lock or pyproject.toml changed.
# PYTHON=/path/to/python3 chooses the interpreter of a new .venv; SKIP_DISK_CHECK=1 takes any disk.
set -eu
cd -- "$(dirname -- "$0")"

stamp=.venv/.setup-done       # written last: what the venv was made from
running=.venv/.setup-running  # there while a set-up works, or when one was interrupted
uv_said=.venv/.uv-said        # by uv, when it failed twice
uv_pinned=.venv/.uv.lock      # uv's lines of the lock
python=.venv/bin/python
disk_gb=8  # .venv is 6 GB (torch with CUDA); the rest is for files that are being unpacked

say() { printf 'Set-up: %s\n' "$*"; }
stop() {
    printf 'Set-up: %s\n' "$@" >&2
    exit 1
}

# What the stamp must hold: the place, the versions of Python and of the two files.
describe() {
    pwd -P
    cksum requirements.lock pyproject.toml
    "$python" --version
}

is_done() {
    [ -f "$stamp" ] && [ ! -e "$running" ] && [ "$(describe 2>/dev/null)" = "$(cat "$stamp")" ]
}

# DVC refuses to work without git unless told so, and `dvc exp` refuses when told so: hence a local
# setting, only where git finds no repository or finds one that ignores this folder (an archive
# unpacked inside other work).
set_dvc_scm() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1 && ! git check-ignore -q dvc.lock; then
        if grep -qs no_scm .dvc/config.local; then
            .venv/bin/dvc config --quiet --local --unset core.no_scm
            say "git found: DVC uses it from now on"
        fi
    elif ! grep -qs no_scm .dvc/config.local; then
        .venv/bin/dvc config --quiet --local core.no_scm true
        if LC_ALL=C git rev-parse --is-inside-work-tree 2>&1 | grep -q 'dubious ownership'; then
            say "git refuses this repository, which belongs to another user. If you trust it:" \
                "git config --global --add safe.directory '$(pwd -P)'," \
                "then make setup. Until then DVC works without git (.dvc/config.local)"
        else
            say "no git repository here: DVC works without one (.dvc/config.local)"
        fi
    fi
}

find_python() {
    for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            base=$(command -v "$name")
            # That of an active .venv goes with .venv, where this is made again.
            case $base in "$PWD"/.venv/*)
                base=$("$name" -c 'import sys; print(sys._base_executable)') ;;
            esac
            return
        fi
        [ -z "${PYTHON:-}" ] || stop "$PYTHON is no Python 3.11 or newer"
    done
    stop "found no Python 3.11 or newer. Install it:" \
        "  sudo apt-get install python3 python3-venv" \
        "or name one: PYTHON=/path/to/python3 make setup"
}

# All that is missing is said at once, as one line for apt.
check_system() {
    packages=
    "$base" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
    if [ "$(uname -s)" = Linux ]; then  # lightgbm brings no OpenMP runtime of its own
        "$base" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null ||
            packages="$packages libgomp1"
    fi
    [ -z "$packages" ] || stop "system packages are missing. Install them:" \
        "  sudo apt-get install$packages"
}

check_disk() {
    [ "${SKIP_DISK_CHECK:-}" != 1 ] || return 0
    free_kb=$("$base" -c 'import shutil; print(shutil.disk_usage(".").free // 1024)')
    [ ! -d .venv ] || free_kb=$((free_kb + $(du -sk .venv | cut -f 1)))
    [ "$free_kb" -ge $((disk_gb * 1000000)) ] || stop \
        "needs about $disk_gb GB of disk, $((free_kb / 1000000)) GB are free in $(pwd)" \
        "SKIP_DISK_CHECK=1 make setup tries all the same"
}

# A venv can be kept if nothing broke it off, its Python and pip run and it was made right here
# (its commands hold its path).
is_usable() {
    [ ! -e "$running" ] &&
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        "$python" -m pip --version >/dev/null 2>&1 &&
        grep -qsF "$(pwd -P)/.venv/bin/python" .venv/bin/pip
}

# The lock names the sha256 of every file: another one is refused. Python keeps the bytecode of what
# it imports, unless it may not: then every command would compile torch anew.
install_with_uv() {
    .venv/bin/uv pip install --python "$python" ${PYTHONDONTWRITEBYTECODE:+--compile-bytecode} \
        --require-hashes -r requirements.lock &&
        .venv/bin/uv pip install --python "$python" --no-deps --no-build-isolation -e .
}

# With hashes in a file pip takes nothing that is not pinned there, so uv gets a file of its own.
install_uv() {
    awk '/^[^ #]/ { own = /^uv==/ } own' requirements.lock >"$uv_pinned"
    "$python" -m pip install --quiet --require-hashes -r "$uv_pinned"
}

# A network that was away for a moment costs uv a second try, which goes on with what it has; the
# reason of a second failure is told, since pip says a lot afterwards.
install() {
    if [ ! -x .venv/bin/uv ] && ! install_uv; then
        say "uv cannot be installed (see above): going on with pip, which takes longer"
    else
        ! install_with_uv || return 0
        say "uv failed (see above): trying once more"
        ! install_with_uv 2>"$uv_said" || return 0
        say "uv failed twice: going on with pip, which takes longer. uv said:"
        tail -n 5 "$uv_said" | sed 's/^/  /'
    fi
    "$python" -m pip install --require-hashes -r requirements.lock &&
        "$python" -m pip install --no-deps --no-build-isolation -e .
}

if is_done; then
    set_dvc_scm
    say "nothing to do, .venv is up to date"
    exit 0
fi

say "needs about $disk_gb GB of disk and, the first time, 2 minutes on a fast network" \
    "(it downloads 3 GB)"
find_python
check_system
check_disk

# One set-up at a time. The lock goes with the last process that holds the file open.
if command -v flock >/dev/null; then
    exec 9>.setup.lock
    flock -n 9 || { say "waiting for another set-up in this folder" && flock 9; }
    ! is_done || exit 0
fi

trap 'say "interrupted. The next run starts over" >&2; exit 130' HUP INT TERM
rm -f "$stamp"
if ! is_usable; then
    [ ! -e .venv ] || say ".venv is broken, unfinished or was moved: making it again"
    rm -rf .venv
    mkdir .venv
    : >"$running"
    say "making .venv with $("$base" --version) ($base)"
    "$base" -m venv .venv
fi
: >"$running"
install || stop "the installation failed (see above). The next run starts over"
set_dvc_scm

describe >"$stamp.new"
rm -f "$running"
mv "$stamp.new" "$stamp"
say "done. Commands: . .venv/bin/activate, or make help"
