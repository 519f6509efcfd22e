"""Test whether system B is better than system A: `python -m speechlm.bin.compare exp/a/score_tts_test_en
exp/b/score_tts_test_en`

Takes two folders with score.json and utterances.jsonl. For each figure that both have: B minus A, its 95 % confidence
interval and a p-value for "there is no difference", with the same utterances in both. `--test bs`: paired bootstrap,
`ar`: approximate randomisation. BLEU and chrF are tested by sacreBLEU's own implementation, WER and CER by resampling
the counted errors, quality by resampling each utterance's value. Figures of different protocols or test sets are
refused.
"""

import argparse
from pathlib import Path

import sacrebleu.significance

from speechlm.bin.command import run_main
from speechlm.metrics.bootstrap import approximate_randomisation, paired_bootstrap
from speechlm.metrics.rows import UTTERANCES, Row, read_lines, read_rows
from speechlm.metrics.table import Key, counts_of, keys_of, metric_of
from speechlm.metrics.text import TextMetric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="folder with the scores of the baseline")
    parser.add_argument("b", type=Path, help="folder with the scores of the system compared with the baseline")
    parser.add_argument("--test", choices=("bs", "ar"), default="bs")
    args = parser.parse_args()
    for line in compare(args.a, args.b, args.test):
        print(line)


def compare(a: Path, b: Path, test: str = "bs") -> list[str]:
    """Return the lines of the table; raise ValueError if the two can't be compared."""
    rows = pair_rows(read_rows(a / "score.json"), read_rows(b / "score.json"), (a, b))
    lines = [{(line["id"], line["lang"]): line for line in read_lines(folder / UTTERANCES)} for folder in (a, b)]
    table = [
        f"A: {rows[0][0].model} ({a})",
        f"B: {rows[0][1].model} ({b})",
        f"test: {test}, {rows[0][0].n} utterances or more",
        "",
    ]
    table.append(f"{'task':5} {'test set':20} {'metric':16} {'A':>8} {'B':>8} {'B - A':>8}  {'95 %':17} {'p':>7}")
    for row_a, row_b in rows:
        low, high, p = test_row(row_a, row_b, lines, (a, b), test)
        interval = f"{low:+.2f} to {high:+.2f}"
        figures = f"{row_a.value:8.2f} {row_b.value:8.2f} {row_b.value - row_a.value:+8.2f}  {interval:17} {p:7.4f}"
        table.append(f"{row_a.task:5} {row_a.test_set:20} {row_a.metric:16} {figures}")
    return table


def pair_rows(a: list[Row], b: list[Row], folders: tuple[Path, Path]) -> list[tuple[Row, Row]]:
    """Return the rows of the same task, test set and metric; raise ValueError if there are none or their protocols
    differ.
    """
    others = {row.key[:3]: row for row in b}
    pairs = [(row, others[row.key[:3]]) for row in a if row.key[:3] in others]
    if not pairs:
        found = [", ".join(sorted({"/".join(row.key[:3]) for row in rows})) for rows in (a, b)]
        raise ValueError(
            f"{folders[0]} and {folders[1]} have no figure in common: {found[0]}; {found[1]}. Score both on the same"
            " test set."
        )
    for one, other in pairs:
        if one.protocol != other.protocol or not one.protocol:
            raise ValueError(
                f"{'/'.join(one.key[:3])}: {folders[0]} has {one.signature}, {folders[1]} has {other.signature};"
                " these are not comparable. Score both with the same --protocol: python -m speechlm.bin.score"
            )
    return pairs


def test_row(
    a: Row, b: Row, lines: list[dict[Key, dict]], folders: tuple[Path, Path], test: str
) -> tuple[float, float, float]:
    """Return low and high of the difference, and the p-value."""
    keys = keys_of(a, lines[0])
    if (
        keys != keys_of(b, lines[1])
        or len(keys) != a.n
        or any(lines[0][key].get("ref") != lines[1][key].get("ref") for key in keys)
    ):
        raise ValueError(
            f"{folders[0]} and {folders[1]}: {a.test_set} has other utterances or references. Score both on the same"
            " test set."
        )
    metric = metric_of(a)
    sides = [[side[key] for key in keys] for side in lines]
    counts = [counts_of(metric, a.metric, side) for side in sides]
    for row, counts_NC, folder in zip((a, b), counts, folders):
        value = float(metric.value(counts_NC.sum(axis=0)[None])[0])
        if abs(value - row.value) > 1e-4:
            raise ValueError(
                f"{folder}: {UTTERANCES} gives {value} for {row.metric}, score.json says {row.value}. Score again."
            )
    low, high, p = paired_bootstrap(*counts, metric.value)
    if hasattr(metric, "metric"):
        p = sacrebleu_p(metric, sides, test)
    elif test == "ar":
        p = approximate_randomisation(*counts, metric.value)
    return low, high, p


def sacrebleu_p(metric: TextMetric, sides: list[list[dict]], test: str) -> float:
    """Return the p-value of sacreBLEU's paired test; 1 for equal texts, which it does not expect."""
    named = [(name, [line["hyp_norm"] for line in side]) for name, side in zip("AB", sides)]
    if named[0][1] == named[1][1]:
        return 1.0
    references = [[line["ref_norm"] for line in sides[0]]]
    _, results = sacrebleu.significance.PairedTest(named, {metric.name: metric.metric}, references, test_type=test)()
    [tested] = [found for name, found in results.items() if name != "System"]
    return tested[1].p_value


if __name__ == "__main__":
    run_main(main)
