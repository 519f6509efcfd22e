"""Runs a whole recipe on a small corpus with the tiny settings, in a folder of its own."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--ngpu", "0", "--codec", "codec_16k", "--llm", "", "--overlay", "tiny", "--zero_shot_tasks", "", "--python", sys.executable]


def run_recipe(recipe: str, work: Path, local_options: str, *options: str) -> list[dict]:
    """Run all stages but the preflight, which other tests run; return the rows of results.json."""
    folders = [word for name in ("data", "dump", "exp") for word in (f"--{name}dir", str(work / name))]
    for stages in (["--stop_stage", "4"], ["--stage", "6"]):
        command = [ROOT / f"egs/{recipe}/run.sh", *options, *TINY, *folders, *stages, "--local_data_opts", local_options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads((work / "exp/results.json").read_text(encoding="utf-8"))
