#!/bin/sh
# Makes .venv and installs into it what a command needs. Called by make.
#
#   deploy/setup.sh find      print the Python that would be used, or say what is missing
#   deploy/setup.sh runtime   what `make demo` needs
#   deploy/setup.sh dev       that, and what tests and checks need
#
# PYTHON=... names the interpreter; without it the first suitable one on PATH is taken. A second call with nothing changed
# returns at once. Exit code 3: no suitable Python.
set -eu
cd "$(dirname "$0")/.."

suitable() { # A pyenv shim may exist and still fail, so the interpreter is run, not looked up.
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' </dev/null >/dev/null 2>&1
}

has_venv() {
    "$1" -c 'import venv, ensurepip' </dev/null >/dev/null 2>&1
}

candidates() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        old_ifs=$IFS
        IFS=:
        for folder in $PATH; do
            if [ -x "$folder/$name" ]; then echo "$folder/$name"; fi
        done
        IFS=$old_ifs
    done
}

find_python() {
    without_venv=""
    for candidate in $(candidates); do
        suitable "$candidate" || continue
        if has_venv "$candidate"; then
            echo "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        echo "tiercel: $without_venv has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2
    elif [ -n "${PYTHON:-}" ]; then
        echo "tiercel: PYTHON=$PYTHON is not a working Python 3.11, 3.12 or 3.13." >&2
    else
        echo "tiercel: Python 3.11, 3.12 or 3.13 is needed and none on PATH works." \
            "Install one, or name it: make PYTHON=/path/to/python3.12 setup" >&2
    fi
    return 3
}

make_venv() { # Kept while it works and stands where it was made; a moved or half-made one is made again.
    if suitable .venv/bin/python && [ -x .venv/bin/pip ] && [ "$(cat .venv/.home 2>/dev/null || pwd)" = "$(pwd)" ]; then
        return
    fi
    python=$(find_python)
    echo "tiercel: making .venv with $python"
    "$python" -m venv --clear .venv
}

install() {
    if [ -L .venv ]; then # Another checkout's: making it anew here would take it away from there.
        suitable .venv/bin/python && return
        echo "tiercel: .venv is a link to $(readlink .venv), and no Python works there: make it anew where it belongs." >&2
        exit 3
    fi
    stamp=.venv/.installed-$1
    wanted="$(pwd) $(cat pyproject.toml sdk/pyproject.toml constraints.txt deploy/setup.sh | cksum)"
    if suitable .venv/bin/python && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    make_venv
    pwd >.venv/.home
    echo "tiercel: installing into .venv ($1); the first time this takes a few minutes"
    # The build tool is pinned too, so it is installed first and builds without an environment of its own.
    pip_install hatchling editables
    case $1 in
        runtime) pip_install --no-build-isolation -e "./sdk[cli]" -e . ;;
        dev) pip_install --no-build-isolation -e "./sdk[cli]" -e ".[dev]" ;;
    esac
    echo "$wanted" >"$stamp"
}

pip_install() {
    PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet -c constraints.txt "$@" </dev/null
}

case "${1:-}" in
    find) find_python ;;
    runtime | dev) install "$1" ;;
    *)
        echo "usage: deploy/setup.sh find|runtime|dev" >&2
        exit 2
        ;;
esac
