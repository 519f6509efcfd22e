"""Prepare and tabulate the comparison of arms (egs/TEMPLATE/arms.sh). One arm with one seed is a piece, the folder
`<exp>/seed<S>/<arm>`.

    python -m speechlm.bin.arms prepare --arm joint --seed 1 --exp exp/arms --conf ../TEMPLATE/conf conf
    python -m speechlm.bin.arms tables --exp exp/arms --arms joint no_cpt --seeds 1 2

`prepare` writes the piece's settings, `conf/*.yaml`, and what it depends on, `piece.todo.json`; it prints the driver's
options, one per line, or nothing if the piece is finished (`piece.json`) and nothing that it depends on has changed.
`tables` reads what the pieces wrote.
"""

import argparse
import json
import shlex
import shutil
from pathlib import Path

from speechlm.arms.config import as_yaml, load_arm, make_plan
from speechlm.arms.figures import find_pieces
from speechlm.bin.command import run_main
from speechlm.data.files import FORMAT, atomic_write, differences, digests_of
from speechlm.data.settings import Count, Option, Percentage, read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("prepare")
    one.set_defaults(run=prepare)
    one.add_argument("--arm", required=True)
    one.add_argument("--seed", type=Option(Count), required=True)
    one.add_argument("--exp", type=Path, required=True)
    one.add_argument(
        "--conf", type=Path, nargs="+", required=True, help="settings folders; later ones override earlier ones"
    )
    one.add_argument(
        "--overlay", type=Path, nargs="*", default=[], help="settings folders that override those of --conf"
    )
    one.add_argument(
        "--inputs", type=Path, nargs="*", default=[], help="further files that the piece depends on: data, the LLM"
    )
    one.add_argument("--tasks", nargs="*", default=[], help="only these of the arm's tasks")
    one.add_argument("--probe_task", default="s2st")
    one.add_argument(
        "--probe",
        type=Option(Percentage),
        nargs="*",
        default=[],
        help="percentages of the probe task's fine-tuning after which it is scored",
    )
    one.add_argument("--options", default="", help="further options of the driver that the result depends on")
    all_ = commands.add_parser("tables")
    all_.set_defaults(run=tables)
    all_.add_argument("--exp", type=Path, required=True)
    all_.add_argument("--arms", nargs="*", default=[], help="arms to expect; missing ones are listed")
    all_.add_argument("--seeds", type=Option(Count), nargs="*", default=[], help="seeds to expect of each arm")
    args = parser.parse_args()
    args.run(args)


def prepare(args: argparse.Namespace) -> None:
    arm = load_arm(args.arm, args.conf)
    if args.tasks:
        arm = arm.only(args.tasks)
    plan = make_plan(arm, args.conf, args.overlay, (args.probe_task, args.probe))
    out = args.exp / f"seed{args.seed}" / args.arm
    digests = digests_of([*plan.files, *args.inputs])
    piece = {
        "format": FORMAT,
        "arm": args.arm,
        "description": arm.description,
        "seed": args.seed,
        "tasks": list(arm.tasks),
        "settings": plan.overlay,
    }
    piece |= {"options": [*plan.options, args.options], "inputs": digests}
    if is_finished(out, piece):
        return
    (out / "piece.json").unlink(missing_ok=True)
    shutil.rmtree(out / "conf", ignore_errors=True)
    for name, settings in plan.overlay.items():
        with atomic_write(out / "conf" / f"{name}.yaml") as stream:
            stream.write(as_yaml(settings))
    (out / "conf").mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "piece.todo.json") as stream:
        json.dump(piece, stream, indent=1)
    print("\n".join([*plan.options, "--overlay", shlex.join(map(str, [*args.overlay, out / "conf"]))]))


def is_finished(out: Path, piece: dict) -> bool:
    """Was exactly this piece run to its end, and are its scores still there?"""
    path = out / "piece.json"
    return (
        path.is_file()
        and is_same(read_json(path), piece)
        and all(any(out.glob(f"sft_{task}/score_*/score.json")) for task in piece["tasks"])
    )


def is_same(old: dict, new: dict) -> bool:
    """Is this the same piece, of the same files wherever they lie?"""
    files = ({"format": piece.get("format"), "settings": {}, "inputs": piece["inputs"]} for piece in (old, new))
    apart = ("format", "inputs")
    return {k: v for k, v in old.items() if k not in apart} == {
        k: v for k, v in new.items() if k not in apart
    } and not differences(*files)


def tables(args: argparse.Namespace) -> None:
    """Write RESULTS.md, figures.json, the pictures and tensorboard/ over all finished pieces; list which of those named
    are missing.
    """
    from speechlm.arms.plots import draw_all
    from speechlm.arms.tables import Comparison, markdown, means
    from speechlm.metrics.rows import write_rows

    pieces = find_pieces(args.exp)
    known = {(piece.arm, piece.seed) for piece in pieces}
    missing = [
        f"{arm}, seed {seed}: {state(args.exp / f'seed{seed}' / arm)}"
        for arm in args.arms
        for seed in args.seeds
        if (arm, seed) not in known
    ]
    if not pieces:
        raise ValueError(
            f"{args.exp}: no finished piece. Missing: {'; '.join(missing)}. Run them first: ./run_arms.sh"
            " --stop_stage 2"
        )
    all_ = Comparison(args.exp, pieces, missing)
    page = markdown(all_)
    draw_all(all_, args.exp)
    with atomic_write(args.exp / "figures.json") as stream:
        json.dump(unique(all_.figures), stream, indent=1, ensure_ascii=False)
    write_rows(args.exp / "means.json", means(unique(all_.figures)))
    with atomic_write(args.exp / "RESULTS.md") as stream:
        stream.write(page)
    print(f"{args.exp}/RESULTS.md: {len(pieces)} pieces" + (f"; missing: {'; '.join(missing)}" if missing else ""))


def state(folder: Path) -> str:
    """Say how far a piece has come."""
    return "interrupted, or running" if (folder / "piece.todo.json").is_file() else "not started"


def unique(figures: list[dict]) -> list[dict]:
    """Return the figures once each, sorted: several tables show the same one."""
    return [json.loads(text) for text in sorted({json.dumps(figure, ensure_ascii=False) for figure in figures})]


if __name__ == "__main__":
    run_main(main)
