"""tools/install.sh: done once, redone when interrupted or outdated, never over somebody's folder. No network: pip and
uv are played.
"""

import os
import shutil
from pathlib import Path

import pytest
from shell import ROOT, run, write_script

UV = """#!/usr/bin/env bash
echo "uv $1" >> "$CALLS"
case $1 in
    venv) mkdir -p "${@: -1}/bin"; cp "$FAKE_PYTHON" "${@: -1}/bin/python" ;;
    pip) [ -z "${INTERRUPT-}" ] || exit 130 ;;
esac
"""
PYTHON = f"""
if [ "$1 $2 ${{3-}}" = "-m pip install" ]; then
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$2/bin"
    cat > "$2/bin/uv" <<'UV'
{UV}UV
    chmod +x "$2/bin/uv"
fi
"""


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "tools").mkdir()
    for name in ("setup.py", "tools/install.sh", "tools/requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    write_script(tmp_path / "fake/python3.11", PYTHON)
    return tmp_path


def install(clone, **environment):
    python = str(clone / "fake/python3.11")
    calls = clone / "calls"
    calls.unlink(missing_ok=True)
    done = run(
        [clone / "tools/install.sh"], clone, **({"PYTHON": python} | environment), FAKE_PYTHON=python, CALLS=str(calls)
    )
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_installs_once(clone):
    done, calls = install(clone)
    assert done.returncode == 0, done.stderr
    assert calls == ["uv venv", "uv pip", "uv pip"] and "Installed in" in done.stdout
    done, calls = install(clone)
    assert (done.returncode, done.stdout, calls) == (0, "", [])


@pytest.mark.parametrize("name", ["setup.py", "tools/requirements.lock"])
def test_a_changed_requirement_is_installed(clone, name):
    install(clone)
    (clone / name).write_text((clone / name).read_text() + "# changed\n")
    done, calls = install(clone)
    assert done.returncode == 0 and calls and "Removing" in done.stdout


def test_an_interrupted_installation_is_made_again(clone):
    done, _ = install(clone, INTERRUPT="1")
    assert done.returncode != 0
    done, calls = install(clone)
    assert done.returncode == 0 and calls == ["uv venv", "uv pip", "uv pip"] and "unfinished" in done.stdout


def test_somebody_elses_folder_is_kept(clone):
    (clone / "mine").mkdir()
    (clone / "mine/thesis.tex").touch()
    done, calls = install(clone, SPEECHLM_VENV=str(clone / "mine"))
    assert done.returncode == 1 and "was not made by this script" in done.stderr
    assert (clone / "mine/thesis.tex").exists() and not calls


def test_without_a_compiler_what_needs_one_is_left_out_and_named(clone):
    write_script(clone / "fake/c++", "#!/bin/sh\nexit 1\n")
    done, _ = install(clone, PATH=f"{clone / 'fake'}:{os.environ['PATH']}")
    packages = (clone / "tools/venv/requirements.txt").read_text()
    assert done.returncode == 0 and "left out are pesq, pyworld, webrtcvad" in done.stderr
    assert "torch==" in packages and not any(f"{name}==" in packages for name in ("pesq", "pyworld", "webrtcvad"))


def test_a_place_without_locks_a_path_with_a_blank_and_a_module_system(clone):
    write_script(clone / "fake/flock", "echo 'flock: 9: Function not implemented' >&2; exit 65\n")
    write_script(clone / "a place/python", '[ -z "${PYTHONHOME-}${PYTHONPATH-}" ] || exit 1\n' + PYTHON)
    environment = {
        "PATH": f"{clone / 'fake'}:{os.environ['PATH']}",
        "PYTHONHOME": "/module",
        "PYTHONPATH": "/module",
        "CDPATH": "/usr",
    }
    done, calls = install(
        clone, PYTHON=str(clone / "a place/python"), SPEECHLM_VENV=str(clone / "its env"), **environment
    )
    assert done.returncode == 0 and len(calls) == 3, done.stderr
    assert "No lock can be had in" in done.stderr and "Another installation" not in done.stdout
    done, calls = install(clone, SPEECHLM_VENV=str(clone / "a:b"))
    assert done.returncode == 1 and not calls and "there is a colon in" in done.stderr


def test_a_missing_python_is_named(clone):
    done, _ = install(clone, PYTHON="python9.9")
    assert done.returncode == 1 and "found no Python 3.11, 3.12 or 3.13 (looked for: python9.9)" in done.stderr


@pytest.mark.parametrize("place", ["fake/python3", "fake/python3.13", "home/.pyenv/versions/3.12.1/bin/python"])
def test_the_python_of_the_path_is_taken_if_it_fits_else_one_is_looked_for(clone, place):
    (clone / place).parent.mkdir(parents=True, exist_ok=True)
    (clone / "fake/python3.11").rename(clone / place)
    for name in {"python3", "python3.11", "python3.12", "python3.13"} - {Path(place).name}:
        write_script(clone / "fake" / name, "exit 1\n")  # of a version that does not fit
    environment = {"PATH": f"{clone / 'fake'}:/usr/bin:/bin", "HOME": str(clone / "home"), "PYTHON": ""}
    done = run(
        [clone / "tools/install.sh"], clone, **environment, FAKE_PYTHON=str(clone / place), CALLS=str(clone / "calls")
    )
    assert done.returncode == 0 and f"for {clone / place}" in done.stdout, done.stderr


def test_a_python_without_pip_is_served_by_the_uv_in_the_path(clone):
    write_script(clone / "fake/python3.11", '[ "${2-}" != "import pip" ]\n')
    write_script(clone / "fake/uv", UV.split("\n", 1)[1])
    done, calls = install(clone, PATH=f"{clone / 'fake'}:/usr/bin:/bin")
    assert done.returncode == 0 and calls == ["uv venv", "uv pip", "uv pip"], done.stderr
