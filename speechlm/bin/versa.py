"""Export per-utterance scores in VERSA's result format: `python -m speechlm.bin.versa exp/sft/score_tts_test_en --out
versa.jsonl`

One JSON object per line, with `key` and the values of each utterance, so that VERSA's tools (aggregation, interactive
display) read them. Names are VERSA's where it has the same measure. Recognition errors are written as VERSA writes
them, <recogniser>_wer_{delete,insert,replace,equal} with <recogniser>_hyp_text and ref_text; a judge of this package is
called judge.
"""

import argparse
import json
import re
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write
from speechlm.metrics.rows import UTTERANCES, Row, read_lines, read_rows
from speechlm.metrics.text import METRICS, ErrorRate

RECOGNISER = re.compile(
    r"\|norm:[^|]+\|([a-z]+)"
)  # what follows the normaliser in a protocol: whisper:..., ctc:..., judge:...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="folder with score.json and utterances.jsonl")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    lines = export(read_rows(args.scores / "score.json"), read_lines(args.scores / UTTERANCES))
    with atomic_write(args.out) as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    print(f"{args.out}: {len(lines)} utterances")


def export(rows: list[Row], lines: list[dict]) -> list[dict]:
    """Return one dict per utterance; ids of a test in several languages get the language at their end."""
    metrics, names = list({row.metric: row for row in rows}.values()), [line["id"] for line in lines]
    keys = names if len(set(names)) == len(names) else [f"{line['id']}.{line['lang']}" for line in lines]
    return [{"key": key} | _values(metrics, line) for key, line in zip(keys, lines)]


def _values(rows: list[Row], line: dict) -> dict:
    values = {}
    for row in rows:
        if row.metric in ("WER", "CER") and row.metric in line:
            values |= _counted(row, line)
        elif row.metric in line:
            name = (
                row.metric if row.metric.removeprefix("ASR-") not in METRICS else row.metric.lower().replace("-", "_")
            )
            values[name] = line[row.metric]
    return values


def _counted(row: Row, line: dict) -> dict:
    found = RECOGNISER.search(row.protocol)
    name = found[1] if found else "model"
    [[replaced, deleted, inserted, length]] = (
        ErrorRate(row.metric).counts([line["hyp_norm"]], [line["ref_norm"]]).tolist()
    )
    counts = {"delete": deleted, "insert": inserted, "replace": replaced, "equal": length - deleted - replaced}
    texts = {f"{name}_hyp_text": line["hyp_norm"], "ref_text": line["ref_norm"]}
    return texts | {f"{name}_{row.metric.lower()}_{kind}": int(count) for kind, count in counts.items()}


if __name__ == "__main__":
    run_main(main)
