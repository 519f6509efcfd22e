"""Train a speech LLM: LLM pre-training, CPT or SFT, as the config says. `--help` lists ESPnet's and our options.

A finished training is skipped, an interrupted one goes on at its last checkpoint; if a setting or an input changed,
the command says which, and starts again.
"""

import json
import sys
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write, stage
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import export_llm, load_model

# Settings that don't change the result, or that are paths whose content is checked instead.
NEUTRAL = {
    "config",
    "output_dir",
    "ngpu",
    "num_workers",
    "dry_run",
    "log_level",
    "dump",
    "init_from",
    "llm",
    "version",
    "resume",
    "required",
}
NEUTRAL |= {"local_rank", "use_tensorboard", "use_matplotlib", "log_interval"}


def input_files(args) -> list[Path]:
    """Return the files that decide the result: manifests, and the weights to start from."""
    files = [Path(args.dump) / name / "manifest.jsonl" for name in [*args.train_sets, args.dev_set]]
    for folder in filter(None, [args.init_from, args.llm if not args.init_from else None]):
        files += [
            p for name in ("config.json", "model.safetensors", "vocab.json", "tokenizer.model") if (p := Path(folder) / name).exists()
        ]
    return files


def drop_other_run(folder: Path, settings: dict) -> None:
    """Remove the checkpoints of an unfinished run that had other settings, saying which."""
    path = folder / "settings.json"
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{k} ({old.get(k)} -> {settings.get(k)})" for k in sorted(old.keys() | settings.keys()) if old.get(k) != settings.get(k)
        ]
        if changed:
            print(f"{folder}: starts again, because of {'; '.join(changed)}", flush=True)
    if not path.exists() or changed:
        for name in ("checkpoint.pth", "checkpoint.prev.pth", "train.jsonl", "model.safetensors"):
            (folder / name).unlink(missing_ok=True)
    with atomic_write(path) as stream:
        json.dump(settings, stream, indent=1, sort_keys=True)


def main() -> None:
    args = SpeechLMTask.get_parser().parse_args()
    SpeechLMTask.check_required_command_args(args)
    args.train_sets = " ".join(args.train_sets).split()
    settings = json.loads(json.dumps({k: v for k, v in vars(args).items() if k not in NEUTRAL}, default=str))
    folder = Path(args.output_dir)
    with stage(folder, "train", settings, input_files(args)) as todo:
        if todo:
            drop_other_run(folder, settings)
            SpeechLMTask.main(args=args)
            if not args.dry_run:
                export_llm(load_model(folder))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
