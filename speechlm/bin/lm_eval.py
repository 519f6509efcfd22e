"""Measure the text ability of a textual LLM with lm-evaluation-harness: of the LLM that CPT starts from, or of the one
exported after CPT (`<model>/llm`).

    python -m speechlm.bin.lm_eval --llm exp/cpt/llm --tasks held_out_final_word --out exp/lm_eval/cpt/score.json \
        --manifest dump/codec_16k/text_test/manifest.jsonl
    python -m speechlm.bin.lm_eval --llm Qwen/Qwen1.5-0.5B --tasks lambada_openai --out exp/lm_eval/llm/score.json

Tasks are those of the harness (their data sets come from the hub), of `--task_files`, a folder of its YAML files, and
our own, held_out_final_word, over the texts of `--manifest`. Metrics have the harness's names and units (acc: a share,
not percent). An interrupted run resumes within a task. lm_eval.json, next to --out, is the harness's own report.
"""

import argparse
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write, digests_of, settings_digest, stage, walk
from speechlm.data.settings import Count, Option, Positive
from speechlm.metrics.rows import Row, write_rows
from speechlm.tokens.text import LLM_FILES, find_llm

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

OURS = Path(__file__).parents[1] / "assets/lm_eval"
REPORT = "lm_eval.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", required=True, help="folder of a Hugging Face model, or its name on the hub")
    parser.add_argument("--tasks", nargs="+", required=True, help="tasks or groups of lm-evaluation-harness")
    parser.add_argument("--task_files", type=Path, help="folder of further tasks (YAML of the harness)")
    parser.add_argument("--manifest", type=Path, help="held-out text, for held_out_final_word")
    parser.add_argument("--num_fewshot", type=Option(Count), help="examples before each question (default: the task's)")
    parser.add_argument(
        "--limit",
        type=Option(Positive),
        help="only this many questions of each task: for trying things out, not for results to report",
    )
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16, or auto: the type of the stored weights")
    parser.add_argument("--batch_size", type=Option(Positive), default=16)
    parser.add_argument("--model", help="name in the table (default: the name of the folder that --out is in)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    name, folder = args.model or args.out.parent.name, find_llm(args.llm)
    files = weight_files(folder)
    settings = {
        "tasks": args.tasks,
        "shots": args.num_fewshot,
        "limit": args.limit,
        "dtype": args.dtype,
    }
    settings |= {"model": name, "lm-eval": version("lm-eval")}
    inputs = [*files, *([args.manifest] if args.manifest else []), *task_files(args.task_files)]
    with stage(args.out.parent, args.out.stem, settings, inputs, [args.out.name, REPORT]) as todo:
        if todo:
            these = settings_digest(settings | digests_of(inputs))
            report = evaluate(args, folder, args.out.parent / f".answers_{these}")
            write_rows(
                args.out, rows_of(report, name, f"dtype:{args.dtype}" + (f"|limit:{args.limit}" if args.limit else ""))
            )
            with atomic_write(args.out.with_name(REPORT)) as stream:
                json.dump(report, stream, indent=1, sort_keys=True, default=str)
            for path in args.out.parent.glob(".answers_*"):
                path.unlink()


def weight_files(folder: Path) -> list[Path]:
    """Return the files of an LLM; ValueError for a folder that is none."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"--llm {folder}: no config.json there. Expected the folder of a Hugging Face model, such as <model>/llm"
            " after CPT"
        )
    return sorted(path for pattern in LLM_FILES for path in folder.glob(pattern))


def task_files(folder: Path | None) -> list[Path]:
    """Return the files of our tasks and of those in `folder`."""
    if folder and not folder.is_dir():
        raise ValueError(
            f"--task_files {folder}: no such folder. Expected one with YAML files of lm-evaluation-harness"
        )
    return sorted(
        path for where in filter(None, [OURS, folder]) for path in walk(where) if path.suffix in (".yaml", ".py")
    )


def evaluate(args: argparse.Namespace, llm: Path, answers: Path) -> dict:
    """Return the harness's report, without its samples; answers are kept in `answers*` while it runs."""
    import torch
    from lm_eval import simple_evaluate

    manager = task_manager(args, with_theirs=bool(args.task_files))  # a group there may name tasks of theirs
    if set(args.tasks) - set(manager.all_tasks):
        manager = task_manager(args, with_theirs=True)  # reads thousands of files: 5 to 15 s
    known = set(manager.all_tasks)
    if unknown := [task for task in args.tasks if task not in known]:
        raise ValueError(
            f"--tasks {' '.join(unknown)}: lm-eval {version('lm-eval')} has no such task. List them: lm_eval ls tasks"
        )
    if "held_out_final_word" in args.tasks and not args.manifest:
        raise ValueError(
            "--tasks held_out_final_word without --manifest. Give the manifest of held-out text:"
            " dump/<codec>/<set>/manifest.jsonl"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        report = simple_evaluate(
            "hf",
            model_args={"pretrained": str(llm), "dtype": args.dtype},
            tasks=args.tasks,
            task_manager=manager,
            num_fewshot=args.num_fewshot,
            limit=args.limit,
            batch_size=args.batch_size,
            device="cuda" if torch.cuda.is_available() else "cpu",
            use_cache=str(answers),
            bootstrap_iters=1000,
        )
    except ConnectionError as error:  # of the hub: a data set that is not on this machine
        message = str(error).splitlines()[0]
        raise ValueError(
            f"--tasks {' '.join(args.tasks)}: a data set can't be fetched ({message}). Once online, its copy is kept"
        ) from None
    return {key: value for key, value in report.items() if key not in ("samples", "pretty_env_info")}


def task_manager(args: argparse.Namespace, with_theirs: bool) -> "TaskManager":
    """Return the harness's register of our tasks, those of --task_files and, if wanted, its own."""
    from lm_eval.tasks import TaskManager

    folders = [str(OURS), *([str(args.task_files)] if args.task_files else [])]
    metadata = {"manifest": str(args.manifest)} if args.manifest else {}
    return TaskManager(include_path=folders, include_defaults=with_theirs, metadata=metadata)


def rows_of(report: dict, model: str, how: str) -> list[Row]:
    """Return a row for each metric of each task; the interval is 1.96 of the harness's standard errors."""
    rows = []
    for task, results in report["results"].items():
        version, shots = report["versions"].get(task), report["n-shot"].get(task)
        protocol = f"lm-eval:{report['lm_eval_version']}|version:{version}|shots:{shots}|{how}"
        for key, value in results.items():
            metric, comma, kept = key.partition(",")
            if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
                error = results.get(f"{metric}_stderr,{kept}")
                sure = isinstance(error, (int, float)) and math.isfinite(error)
                low, high = (float(value - 1.96 * error), float(value + 1.96 * error)) if sure else (None, None)
                filtered = "" if kept == "none" else f"|filter:{kept}"
                n = int(results.get("sample_len") or 0)
                rows.append(
                    Row(
                        model,
                        "lm_eval",
                        task,
                        metric,
                        float(value),
                        n,
                        protocol + filtered,
                        low,
                        high,
                        protocol + filtered,
                    )
                )
    return rows


if __name__ == "__main__":
    run_main(main)
