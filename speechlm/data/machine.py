"""On what and by which code something was made: written beside results, so that a figure can be traced."""

import os
import subprocess
from pathlib import Path

GIB = 2**30


def describe_machine(gpus: list[str] = ()) -> str:
    """Return the processor, its usable cores, the memory, and the GPUs given by name: "AMD EPYC, 2 cores, 24 GB"."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    parts = [_processor(), f"{cores} core{'s' if cores > 1 else ''}", f"{memory_gib:.0f} GB"]
    return ", ".join(parts + [f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)])


def device_for(ngpu: int) -> str:
    """Return "cuda" or "cpu", as --ngpu says; ValueError if this machine has not so many GPUs."""
    if not ngpu:
        return "cpu"
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < ngpu:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = "" if shown is None else f" (with CUDA_VISIBLE_DEVICES={shown})"
        fix = f"give --ngpu {found}{'' if found else ', the CPU'}"
        raise ValueError(f"--ngpu {ngpu}: found {found} GPUs here{where}. Expected as many: {fix}")
    return "cuda"


def devices_for(ngpu: int, nproc: int = 1) -> list[str]:
    """Return where each process works: "cpu" `nproc` times, or the GPUs to use, as CUDA_VISIBLE_DEVICES names them.

    ValueError if this machine has not so many.
    """
    if device_for(ngpu) == "cpu":
        return ["cpu"] * nproc
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(number) for number in range(ngpu)] if shown is None else shown.replace(" ", "").split(",")[:ngpu]


def take_device(name: str) -> str:
    """Let this process, which has not used a GPU yet, see one of `devices_for` alone; return its name in torch."""
    if name == "cpu":
        return name
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    return "cuda"


def code_version() -> str:
    """Return the commit of this package's repository (12 hex digits, with +changes if files differ from it), or "no
    commit".
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "no commit"
    return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def _git(*arguments: str) -> str:
    """Return what git says, "" if it cannot be asked."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
