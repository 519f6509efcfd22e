"""Helpers to run scripts in tests."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(command: list, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command and return its exit status and texts; the environment is only what is given, and PATH."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd)} | environment
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def write_script(path: Path, text: str) -> Path:
    """Write an executable bash script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/usr/bin/env bash\nset -eu\n" + text)
    path.chmod(0o755)
    return path
