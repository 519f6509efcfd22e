#!/usr/bin/env -S bash -p
# Installs everything: a virtual environment with all packages of tools/requirements.lock and this repository.
#
#   tools/install.sh                          needs only Python 3.11, 3.12 or 3.13 with pip (or uv), and the network
#   SPEECHLM_VENV=/big/disk/env tools/install.sh     elsewhere than tools/venv
#   PYTHON=/opt/python3.12/bin/python tools/install.sh
#
# Done once: a finished installation is recognised in milliseconds, a changed setup.py or lock file, or an
# interrupted installation, is made again. Packages come from the index that pip is configured for.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/../..")"
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONINSPECT CDPATH GREP_OPTIONS POSIXLY_CORRECT     # for another Python

venv=${SPEECHLM_VENV:-$PWD/tools/venv}
record=$venv/.speechlm_installed      # written last: says which files this environment was made from
owner=$venv/.speechlm_environment     # written first: this folder is ours to remove
COMPILED='pesq|pyworld|webrtcvad'     # packages that come as C; nothing from a corpus to a score imports them
wanted=$(cat setup.py tools/requirements.lock | cksum)

is_done() { [ -x "$venv/bin/python" ] && [ "$(cat "$record" 2>/dev/null)" = "$wanted" ]; }

fail() { echo "tools/install.sh: $*" >&2; exit 1; }

fits() {                  # fits PYTHON: was the lock file tested with its version, and can it make environments?
    "$1" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {           # $PYTHON decides; else the python3 in PATH, another one there, pyenv's, one that uv manages
    local name names=(python3 python3.13 python3.12 python3.11
        "${PYENV_ROOT:-${HOME-}/.pyenv}"/versions/3.1[321]*/bin/python
        "${UV_PYTHON_INSTALL_DIR:-${HOME-}/.local/share/uv/python}"/cpython-3.1[321]*/bin/python3)
    if [ -n "${PYTHON:-}" ]; then names=("$PYTHON"); fi
    for name in "${names[@]}"; do
        case $(command -v "$name") in "$venv"/*) continue ;; esac     # the one that is made again
        if fits "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "found no Python 3.11, 3.12 or 3.13 (looked for:" \
        "${PYTHON:-python3, python3.13, python3.12, python3.11, those of pyenv and uv})." \
        "Install one, or name it: PYTHON=/path/to/python3.12 tools/install.sh"
}

find_uv() {               # the installer: the one in PATH, else the one that pip of this or any other Python fetches
    local name
    if command -v uv; then return; fi
    for name in "$python" python3 python; do
        "$name" -c 'import pip' 2>/dev/null || continue
        "$name" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
            --target "$venv/uv" 'uv>=0.5' >&2
        echo "$venv/uv/bin/uv"
        return
    done
    fail "$python has no pip, and there is no uv. Install one of them:" \
        "$python -m ensurepip --user (Debian: apt install python3-pip)"
}

use_settings_of_pip() {   # uv does not read pip's configuration: index and certificates
    local index certificates
    index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
    certificates=${PIP_CERT:-$("$python" -m pip config get global.cert 2>/dev/null || true)}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
    if [ -n "$certificates" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}; fi
}

can_compile() {           # C and C++ with Python's headers
    local headers
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    command -v cc >/dev/null && echo '#include <Python.h>' | c++ -x c++ -I "$headers" -fsyntax-only - 2>/dev/null
}

list_packages() {         # the lock file, without what this machine can't build
    if can_compile; then cat tools/requirements.lock; return; fi
    echo "No C compiler with Python's headers: left out are ${COMPILED//|/, }" \
        "(PESQ, speaker similarity by Resemblyzer, pitch for ESPnet's own TTS)." \
        "To have them: apt install g++ python3-dev, rm -r $venv, $0" >&2
    grep -vE "^($COMPILED)==" tools/requirements.lock
}

remove_unfinished() {
    [ -e "$venv" ] || return 0
    [ -e "$owner" ] || [ -z "$(ls -A "$venv")" ] ||
        fail "$venv exists and was not made by this script. Move it away, or set SPEECHLM_VENV to a new folder."
    echo "Removing $venv: unfinished, or made from other versions of setup.py and the lock file."
    rm -f "$record"
    find "$venv" -mindepth 1 -maxdepth 1 ! -path "$owner" -exec rm -rf {} +     # interrupted here, it is still ours
}

install() {
    mkdir -p "$venv"
    touch "$owner"
    local uv
    echo "1/3 uv, the installer, for $python"
    uv=$(find_uv)
    echo "2/3 $(grep -c '^[a-z]' tools/requirements.lock) packages: about 5 GB on disk, a minute with a fast network"
    "$uv" venv --quiet --allow-existing --python "$python" "$venv"
    list_packages > "$venv/requirements.txt"
    # the lock file is complete: --no-deps
    VIRTUAL_ENV=$venv "$uv" pip install --quiet --no-deps --requirements "$venv/requirements.txt"
    echo "3/3 this repository (editable)"
    VIRTUAL_ENV=$venv "$uv" pip install --quiet --no-deps --no-build-isolation --editable .
    "$venv/bin/python" -c 'import torch, torchaudio, espnet2, encodec, speechlm' ||
        fail "a package does not import (see above). Remove $venv and try again; if it fails again, report the lines" \
            "above."
}

case $venv in *:*)
    fail "there is a colon in $venv, which ends a folder's name in PATH." \
        "Name another: SPEECHLM_VENV=/path tools/install.sh" ;;
esac
if is_done; then exit 0; fi
[ ! -e "$venv" ] || [ -w "$venv" ] ||
    fail "$venv was made from other versions of setup.py or the lock file, and you may not write there." \
        "Let its owner run tools/install.sh, or name a folder of yours: SPEECHLM_VENV=/path tools/install.sh"
mkdir -p "$(dirname "$venv")"
if command -v flock >/dev/null; then      # a second installation waits for the first
    exec 9>"$(dirname "$venv")/.$(basename "$venv").lock"
    status=0
    flock -n 9 || status=$?
    case $status in
        0) ;;
        1) echo "Another installation into $venv is running: waiting for it."; flock 9 ;;
        *) echo "No lock can be had in $(dirname "$venv"): start no second installation into $venv meanwhile." >&2 ;;
    esac
    if is_done; then exit 0; fi
fi
python=$(find_python)
echo "Installing into $venv (once; SPEECHLM_VENV chooses another folder)"
use_settings_of_pip
remove_unfinished
install
echo "$wanted" > "$record.part" && mv "$record.part" "$record"
echo "Installed in $SECONDS s: $venv/bin/python"
exit
}
