#!/bin/sh
# Put the uv this project was locked with at $1 (a folder): by pip, its hash checked, or else the uv that is on the PATH.
set -eu
folder=$1
here=$(dirname "$0")
python=${PYTHON:-python3}

if "$python" -m pip --version >/dev/null 2>&1; then
    echo "getting uv into $folder"
    # PYTHONPATH is emptied so that nothing found there shadows what pip brings.
    env PYTHONPATH= "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --upgrade --target "$folder" -r "$here/uv.lock.txt" && exit 0
    echo "pip could not install uv (its message is above); is the package registry reachable?" >&2
fi
if command -v uv >/dev/null 2>&1; then
    echo "using the uv at $(command -v uv)"
    mkdir -p "$folder/bin"
    ln -sf "$(command -v uv)" "$folder/bin/uv"
    exit 0
fi
cat >&2 <<MESSAGE
This project makes its environment with uv, and there is neither a uv on the PATH nor a '$python' with pip to get it.
Do one of these, then run make again:
  - install Python 3.11 or newer with pip (Debian, Ubuntu: apt install python3 python3-pip)
  - install uv: https://docs.astral.sh/uv/getting-started/installation/
  - name another Python: make PYTHON=/path/to/python3 ...
MESSAGE
exit 1
