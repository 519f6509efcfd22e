"""Documents whose files are written and whose commands are run, word by word, in a copy of the repository."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.corpora.recipe import ROOT
from tests.corpora.warm import warm_python
from tests.shell.shell import run

PARTS = (
    "egs/TEMPLATE",
    "utils",
    "tools/new_recipe.sh",
    "tools/install.sh",
    "tools/requirements.lock",
    "setup.py",
    "speechlm",
)
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def copy_repository(clone: Path, *more: str) -> Path:
    """Copy what a recipe needs, and what else is named; it counts as installed."""
    for part in (*PARTS, *more):
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, clone / part)
    venv = clone / "tools/venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy2(warm_python(clone), venv / "bin/python")
    wanted = subprocess.run(
        "cat setup.py tools/requirements.lock | cksum", shell=True, cwd=clone, capture_output=True, text=True
    )
    (venv / ".speechlm_installed").write_text(wanted.stdout)
    return clone


def write_files(text: str, clone: Path) -> None:
    """Write the blocks of a document that name a file."""
    for _, path, content in BLOCK.findall(text):
        if path:
            (clone / path).write_text(content, encoding="utf-8")


def run_commands(text: str, clone: Path, **environment: str) -> str:
    """Run the `bash` blocks of a document as one script, from the root of the copy; return what they say."""
    script = "".join(content for language, path, content in BLOCK.findall(text) if language == "bash" and not path)
    done = run(["bash", "-euo", "pipefail", "-c", script], clone, **environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout
