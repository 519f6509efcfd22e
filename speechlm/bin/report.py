"""Make the page of one or several experiments: `python -m speechlm.bin.report exp --data data --src_lang es`

Writes `<out>/index.html`, which opens from disk without a server or network, and next to it `audio/`, small recordings
of chosen utterances and of the worst ones, with their spectrograms. Several experiments are shown side by side: `...
exp/a exp/b --out exp/a_b`. The page is made again only if the scores, the logs, its recordings or the page's own code
changed.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write, remove_abandoned, settings_digest, stage
from speechlm.data.settings import Count, Option, Weight
from speechlm.report.experiment import load
from speechlm.report.listen import Corpus, Recordings, listen
from speechlm.report.page import Heard, assets, payload, render

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", type=Path, help="folders of results: exp, exp/<preset>")
    parser.add_argument("--out", type=Path, help="where the page goes (default: report in the experiment)")
    parser.add_argument(
        "--data", type=Path, help="folder of the Kaldi directories: texts and recordings of the sources, speakers"
    )
    parser.add_argument("--src_lang", help="language of the source of translations")
    parser.add_argument(
        "--train_sets", nargs="*", default=[], help="training sets in --data: their speakers were heard in training"
    )
    parser.add_argument("--protocol", help="use only the scores of the protocol with this name")
    parser.add_argument("--title", help="title of the page (default: the experiment's folders)")
    parser.add_argument(
        "--listen",
        type=Option(Count),
        default=8,
        help="number of chosen utterances of each set, and of the worst utterances of each model, that have audio",
    )
    parser.add_argument("--max_mb", type=Option(Weight), default=20, help="most audio in the report, in MB")
    args = parser.parse_args()
    out = args.out or args.experiments[0] / "report"
    if len(args.experiments) > 1 and not args.out:
        raise ValueError(
            "several experiments have no common folder for their page. Give --out, e.g. --out exp/report_of_both"
        )
    if args.listen < 1 or args.max_mb <= 0:
        raise ValueError(f"--listen {args.listen} --max_mb {args.max_mb:g}: expected numbers above 0")
    make_report(args, out)


def make_report(args: argparse.Namespace, out: Path) -> None:
    """Write the page. Recordings are named by their content, and the page comes last: until then the old one stays
    whole.
    """
    found = load(args.experiments, args.protocol)
    corpus = Corpus(
        args.data,
        args.src_lang,
        tuple(name for name in args.train_sets if args.data and (args.data / name / "utt2spk").is_file()),
    )
    recordings = Recordings(found, corpus, out / "audio", int(args.max_mb * MIB))
    heard = Heard(listen(found.groups, recordings, args.listen), recordings)
    names = sorted(recordings.clips)
    speakers = [args.data / name / "utt2spk" for name in corpus.train_sets]
    title = args.title or " · ".join(map(title_of, args.experiments))
    settings = {"title": title, "protocol": args.protocol, "page": assets(), "audio": settings_digest({"clips": names})}
    outputs = ["index.html", *(["audio/*.mp3"] if names else [])]
    with stage(out, "report", settings, [*found.files, *speakers], outputs) as todo:
        if todo:
            page = render(payload(title, found, corpus, heard))
            with atomic_write(out / "index.html") as stream:
                stream.write(page)
            remove_others(out / "audio", set(names))
    report_on(out, found, recordings)


def title_of(experiment: Path) -> str:
    """Return the recipe's name for egs/<recipe>/exp, else the last two folders."""
    parts = experiment.resolve().parts[-2:]
    return "/".join(parts).removesuffix("/exp")


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove recordings that the page no longer uses."""
    if folder.is_dir():
        remove_abandoned(folder)
    for path in folder.glob("*.*"):
        if path.stem not in names:
            path.unlink()


def report_on(out: Path, found, recordings: Recordings) -> None:
    """Print where the page is, how many of its utterances can be heard, and what was not found."""
    if recordings.missing:
        print(
            f"warning: {len(recordings.missing)} recordings were not found or can't be read, for instance"
            f" {recordings.missing[0]}"
        )
    utterances = sum(len(group.keys) for group in found.groups)
    size = (out / "index.html").stat().st_size + recordings.bytes
    print(
        f"{out}/index.html: {utterances} utterances, {len(recordings.clips)} recordings, {size / MIB:.1f} MB. Open it"
        " in a browser."
    )


if __name__ == "__main__":
    run_main(main)
