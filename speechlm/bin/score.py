"""Score decoded hypotheses and write rows of results.

    python -m speechlm.bin.score --task s2st --hyp exp/sft/decode_s2st_test --ref data/test --src_lang es --tgt_lang en \\
        --model sft --test_set test --out exp/sft/decode_s2st_test/score.json --judge judge_en --codec codec_16k

asr, s2tt: `<hyp>/text` is scored (WER or CER; BLEU and chrF). tts, s2st: the judge transcribes the files of
`<hyp>/wav.scp`, kept as `<hyp>/heard` (WER; ASR-BLEU and ASR-chrF). The language scored is --tgt_lang, for asr --src_lang.
asr takes several languages, each with its folder, and adds a row over all of them:
`--hyp decode_asr_test_es decode_asr_test_en --src_lang es+en` gives rows for test.es, test.en and test.es+en.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.kaldi import read_table, read_text
from speechlm.metrics.rows import Row, write_rows
from speechlm.metrics.text import Score, bleu, by_character, chrf, error_rate, normalise, pair_up

TASKS = ("asr", "tts", "s2tt", "s2st")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--hyp", required=True, nargs="+", type=Path, help="decoding folder; for asr one per language")
    parser.add_argument("--ref", required=True, type=Path, help="Kaldi data directory with the reference texts")
    parser.add_argument("--src_lang", help="language of the source; for asr one or several, joined by +")
    parser.add_argument("--tgt_lang", help="language of the target")
    parser.add_argument("--model", required=True, help="name in the table")
    parser.add_argument("--test_set", required=True, help="name in the table")
    parser.add_argument("--out", required=True, type=Path, help="score.json to write")
    parser.add_argument("--judge", help="judge for speech outputs: judge_en or a folder")
    parser.add_argument("--codec", help="name of the codec, for the signature")
    args = parser.parse_args()
    langs = languages(args.task, args.src_lang, args.tgt_lang, len(args.hyp))
    scored = score_recognition(args, langs) if args.task == "asr" else [(args.test_set, s) for s in score_one(args, langs[0])]
    rows = [Row(args.model, args.task, name, s.metric, s.value, s.n, s.signature) for name, s in scored]
    write_rows(args.out, rows)
    for row in rows:
        print(f"{row.model} {row.task} {row.test_set}: {row.metric} {row.value:.2f} ({row.n} utterances)")


def languages(task: str, src_lang: str | None, tgt_lang: str | None, folders: int) -> list[str]:
    """Return the language of each hypothesis folder; raise ValueError if the options do not say it."""
    named = (src_lang or tgt_lang) if task == "asr" else tgt_lang
    option = "--src_lang" if task == "asr" else "--tgt_lang"
    if not named:
        raise ValueError(f"--task {task}: the language to score is not known. Give {option}, e.g. {option} en")
    langs = named.split("+")
    if len(langs) != folders or (task != "asr" and folders > 1):
        rule = "expected one folder for each language, and only asr takes several"
        raise ValueError(f"--task {task}: {folders} folder(s) in --hyp for {option} {named}; {rule}")
    return langs


def score_recognition(args: argparse.Namespace, langs: list[str]) -> list[tuple[str, Score]]:
    """Return (test set, score) for each language and, if there are several, for all together."""
    scored, all_hyps, all_refs = [], {}, {}
    for folder, lang in zip(args.hyp, langs):
        hyps, refs = read_table(folder / "text", may_be_empty=True), read_text(args.ref, lang)
        name = args.test_set if len(langs) == 1 else f"{args.test_set}.{lang}"
        scored.append((name, _sign(error_rate(hyps, refs, lang), folder, args.codec)))
        pair_up(hyps, refs)
        for key in refs:
            all_hyps[lang, key], all_refs[lang, key] = normalise(hyps[key], lang), normalise(refs[key], lang)
    if len(langs) > 1 and not any(by_character(lang) for lang in langs):
        together = error_rate(all_hyps, all_refs, langs[0])
        scored.append((f"{args.test_set}.{'+'.join(langs)}", _sign(together, args.hyp[0], args.codec)))
    return scored


def score_one(args: argparse.Namespace, lang: str) -> list[Score]:
    """Return the scores of translated text, or of speech."""
    folder, refs = args.hyp[0], read_text(args.ref, lang)
    if args.task == "s2tt":
        hyps = read_table(folder / "text", may_be_empty=True)
        scores = [bleu(hyps, refs, lang), chrf(hyps, refs)]
    else:
        scores = score_speech(args, folder, refs, lang)
    return [_sign(score, folder, args.codec) for score in scores]


def score_speech(args: argparse.Namespace, folder: Path, refs: dict[str, str], lang: str) -> list[Score]:
    """Return the scores of spoken outputs by what the judge hears."""
    from speechlm.metrics.judge import Judge
    from speechlm.metrics.speech import asr_bleu, intelligibility, transcribe

    if not args.judge:
        raise ValueError(f"--task {args.task}: spoken outputs need a judge. Give --judge judge_en, or one you trained")
    wavs = read_table(folder / "wav.scp")
    pair_up(wavs, refs)
    judge = Judge.load(args.judge)
    heard = transcribe(judge, wavs, lang, folder / "heard")
    return (intelligibility if args.task == "tts" else asr_bleu)(heard, refs, judge)


def _sign(score: Score, folder: Path, codec: str | None) -> Score:
    """Add the codec and the decoding settings of `decode.json` to a score's signature."""
    parts = [score.signature, *([f"codec:{codec}"] if codec else []), *decoding_settings(folder / "decode.json")]
    return replace(score, signature="|".join(parts))


def decoding_settings(path: Path) -> list[str]:
    """Return "decode:key=value,..." of the plain values (no paths) of a decode.json, if there is one."""
    if not path.is_file():
        return []
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        plain = {k: v for k, v in sorted(settings.items()) if isinstance(v, (str, int, float)) and "/" not in str(v)}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a JSON object of settings ({error}). Decode again: python -m speechlm.bin.decode") from None
    return ["decode:" + ",".join(f"{k}={v}" for k, v in plain.items())]


if __name__ == "__main__":
    run_main(main)
