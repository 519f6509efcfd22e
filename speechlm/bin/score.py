"""Score decoded hypotheses: write rows of results, and one line per utterance.

    python -m speechlm.bin.score --task s2st --hyp exp/sft/decode_s2st_test --ref data/test --src_lang es \\
        --tgt_lang en --model sft --test_set test --protocol mini --codec codec_16k \\
        --out exp/sft/score_s2st_test/score.json

For tasks whose output is text (asr, s2tt), `<hyp>/text` is scored. For tasks whose output is speech (tts, s2st, t2st),
the protocol's recogniser transcribes the files of `<hyp>/wav.scp`, and its transcripts are kept as `<hyp>/heard`;
quality is measured on the files themselves. The language scored is --tgt_lang, or for asr --src_lang. asr takes several
languages, each with its folder, and adds a row over all of them: `--hyp decode_asr_test_es decode_asr_test_en
--src_lang es+en` gives rows for test.es, test.en and test.es+en. Speech in a given voice (tts, t2st) is scored on the
utterances that the set's `prompts` lists, if it has such a file, else on those whose speaker has another recording (on
all, if there are none). utterances.jsonl, next to --out, has each utterance's texts and values.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechlm.bin.command import run_main
from speechlm.data.kaldi import read_audio, read_prompts, read_speakers, read_table, read_text, side_path
from speechlm.data.languages import by_character
from speechlm.data.machine import device_for, devices_for
from speechlm.data.settings import Count, Option
from speechlm.metrics.protocol import Rules, rules_for
from speechlm.metrics.rows import NOT_ENDED, UTTERANCES, Row, write_lines, write_rows
from speechlm.metrics.scoring import Output, Score, score_texts
from speechlm.metrics.speech import other_recordings, score_speech
from speechlm.tasks import SCORED, TASKS, get_task


@dataclass(frozen=True)
class Part:
    """The scores of one hypothesis folder."""

    lang: str
    scores: list[Score]
    lines: list[dict]
    made_by: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=SCORED)
    parser.add_argument("--hyp", required=True, nargs="+", type=Path, help="decoding folder; for asr one per language")
    parser.add_argument("--ref", required=True, type=Path, help="Kaldi data directory with the reference texts")
    parser.add_argument("--src_lang", help="language of the source; for asr one or several, joined by +")
    parser.add_argument("--tgt_lang", help="language of the target")
    parser.add_argument("--model", required=True, help="name in the table")
    parser.add_argument("--test_set", required=True, help="name in the table")
    parser.add_argument("--out", required=True, type=Path, help="score.json to write")
    parser.add_argument("--codec", help="name of the codec, for the signature")
    add_protocol_options(parser)
    args = parser.parse_args()
    device_for(args.ngpu)
    langs = languages(args.task, args.src_lang, args.tgt_lang, len(args.hyp))
    rules = rules_for(args.protocol, args.task, args.judge)
    parts = [mark_not_ended(score_folder(args, rules, folder, lang), folder) for folder, lang in zip(args.hyp, langs)]
    write_lines(args.out.with_name(UTTERANCES), [line for part in parts for line in part.lines])
    write_rows(args.out, rows := rows_of(args, rules, parts))
    show(rows)


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to score."""
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=["mini"],
        help="names or files; of several, the first that covers the task is used",
    )
    parser.add_argument(
        "--judge", help="recogniser of speech outputs, if not the protocol's: KIND:MODEL, judge_en or a folder"
    )
    parser.add_argument(
        "--ngpu",
        type=Option(Count),
        default=0,
        help="number of GPUs for recognition; the first also measures quality (0: CPU)",
    )


def show(rows: list[Row]) -> None:
    """Print rows, one a line."""
    for row in rows:
        print(
            f"{row.model} {row.task} {row.test_set}: {row.metric} {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
            f" ({row.n} utterances)"
        )


def languages(task: str, src_lang: str | None, tgt_lang: str | None, folders: int) -> list[str]:
    """Return the language of each hypothesis folder; raise ValueError if the options do not say it."""
    together = TASKS[task].recognises
    named = (src_lang or tgt_lang) if together else tgt_lang
    option = "--src_lang" if together else "--tgt_lang"
    if not named:
        raise ValueError(f"--task {task}: the language to score is not known. Give {option}, e.g. {option} en")
    langs = named.split("+")
    if len(langs) != folders or (not together and folders > 1):
        rule = "expected one folder for each language, and only asr takes several"
        raise ValueError(f"--task {task}: {folders} folder(s) in --hyp for {option} {named}; {rule}")
    return langs


def score_folder(args: argparse.Namespace, rules: Rules, folder: Path, lang: str) -> Part:
    """Return the scores of one decoding folder."""
    refs, speakers = read_references(args.ref, args.task, lang), read_speakers(args.ref)
    if len(refs) < (whole := len(read_text(args.ref, lang))):
        over = f"{len(refs)} of {whole} utterances: those with a voice prompt"
        print(f"{args.test_set}: {args.task} is scored over {over}", flush=True)
    made_by = "|".join([*([f"codec:{args.codec}"] if args.codec else []), *decoding_settings(folder / "decode.json")])
    if not TASKS[args.task].speaks:
        output = Output(args.task, lang, read_table(folder / "text", may_be_empty=True), refs, speakers)
        return Part(lang, *score_texts(rules, output), made_by)
    spoken = rules.quality and side_path(args.ref, "wav.scp", lang).is_file()
    voices = other_recordings(read_audio(args.ref, lang), speakers) if spoken else {}
    output = Output(args.task, lang, {}, refs, speakers, own_recordings(folder), voices)
    return Part(lang, *score_speech(rules, output, folder, devices_for(args.ngpu)), made_by)


def own_recordings(folder: Path) -> dict[str, str]:
    """Return {utterance: path} of wav.scp; what lies in the folder's wav/ is taken from there, wherever the folder has
    moved.
    """
    table = read_table(folder / "wav.scp")
    own = {key: folder / "wav" / Path(path).name for key, path in table.items()}
    return {key: str(own[key]) if own[key].is_file() else table[key] for key in table}


def read_references(data_dir: Path, task: str, lang: str) -> dict[str, str]:
    """Return {utterance: text} of those that a task is tested on.

    With a voice prompt, that is what `prompts` lists, if the set has it; else, what has another recording of its
    speaker (all, if nothing has).
    """
    refs = read_text(data_dir, lang)
    if not get_task(task).prompted:
        return refs
    listed = read_prompts(data_dir)
    if not listed and side_path(data_dir, "wav.scp", lang).is_file():
        listed = other_recordings(read_audio(data_dir, lang), read_speakers(data_dir))
    return {key: refs[key] for key in sorted(listed)} if listed else refs


def rows_of(args: argparse.Namespace, rules: Rules, parts: list[Part]) -> list[Row]:
    """Return the rows of each language and, if there are several that are scored by word, of all together."""
    rows = []
    for part in parts:
        name = args.test_set if len(parts) == 1 else f"{args.test_set}.{part.lang}"
        rows += [score.to_row(rules, args.model, args.task, name, part.made_by) for score in part.scores]
    if len(parts) > 1 and not any(by_character(part.lang) for part in parts):
        name = f"{args.test_set}.{'+'.join(part.lang for part in parts)}"
        for scores in zip(*(part.scores for part in parts), strict=True):
            together = replace(scores[0], counts_NC=np.concatenate([score.counts_NC for score in scores]))
            rows.append(together.to_row(rules, args.model, args.task, name, parts[0].made_by))
    return rows


def decoding_settings(path: Path) -> list[str]:
    """Return "decode:key=value,..." of the plain values (no paths) of a decode.json, if there is one, and how many
    outputs did not end.
    """
    settings = read_decoding(path)
    nested = [values for values in settings.values() if isinstance(values, dict)]
    flat = {key: value for values in [settings, *nested] for key, value in values.items() if key != "batch_size"}
    plain = {k: v for k, v in sorted(flat.items()) if isinstance(v, (str, int, float)) and "/" not in str(v)}
    cut = len(settings.get("not_ended", []))
    return (["decode:" + ",".join(f"{k}={v}" for k, v in plain.items())] if settings else []) + (
        [f"{NOT_ENDED}:{cut}"] if cut else []
    )


def read_decoding(path: Path) -> dict:
    """Return what a decode.json says, nothing if there is none; ValueError if it is damaged."""
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict) or not isinstance(settings.get("not_ended", []), list):
            raise ValueError(f"found a {type(settings).__name__}")
        return settings
    except ValueError as error:
        raise ValueError(
            f"{path}: not a JSON object of settings ({error}). Decode again: python -m speechlm.bin.decode"
        ) from None


def mark_not_ended(part: Part, folder: Path) -> Part:
    """Return the scores of a folder with the lines marked whose output did not end by itself."""
    cut = set(read_decoding(folder / "decode.json").get("not_ended", []))
    return replace(part, lines=[line | ({NOT_ENDED: True} if line["id"] in cut else {}) for line in part.lines])


if __name__ == "__main__":
    run_main(main)
