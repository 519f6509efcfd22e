"""Print how a recipe tests its tasks: one line for each figure, read by egs/TEMPLATE/speechlm.sh.

`python -m speechlm.bin.tasks --tasks asr tts --langs es en --src_lang es --tgt_lang en` prints

    asr text es+en es+en - es en
    tts speech en en - en

task, kind of output, --src_lang and --tgt_lang of scoring, suffix of the test set's name (-: none), and the languages
to decode.
"""

import argparse

from speechlm.bin.command import run_main
from speechlm.tasks import SCORED, TASKS, check_tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=[], help="tasks to score")
    parser.add_argument("--langs", nargs="+", required=True, help="languages of the corpus")
    parser.add_argument("--src_lang", required=True)
    parser.add_argument("--tgt_lang", required=True)
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        metavar="TASK=LANG+LANG",
        help="languages of one task, in place of its usual ones",
    )
    args = parser.parse_args()
    for line in plan(args):
        print(" ".join(line))


def plan(args: argparse.Namespace) -> list[list[str]]:
    """Return the words of each line; raise ValueError for a task that is not scored."""
    check_tasks(args.tasks, SCORED, "--tasks")
    only = {task: langs.split("+") for task, _, langs in (entry.partition("=") for entry in args.only) if langs}
    lines = []
    for task in (TASKS[name] for name in dict.fromkeys(args.tasks)):
        langs = only.get(task.name) or task.tested_in(args.langs, args.src_lang, args.tgt_lang)
        for group in [langs] if task.recognises else [[lang] for lang in langs]:
            source = "+".join(group)
            target = args.tgt_lang if task.languages == "pair" else source
            suffix = (
                f".{source}" if task.languages == "same" and not task.recognises and source != args.tgt_lang else "-"
            )
            lines.append([task.name, "speech" if task.speaks else "text", source, target, suffix, *group])
    return lines


if __name__ == "__main__":
    run_main(main)
