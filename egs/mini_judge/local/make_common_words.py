"""Write spoken lists of common English words in random order, to train the judge on: open text has few everyday words,
and in a list no word predicts the next, so that the judge hears words and does not complete sentences.

Two to seven words per line, from `common_words.txt` (the most common first; the rarer a word, the less often it is
drawn), spoken by the voices in turn.
"""

import random
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
CVSS = HERE.parents[1] / "mini_cvss" / "local"
sys.path.insert(0, str(CVSS))

from make_sentences import read_lines  # noqa: E402
from make_words import list_parser, write_lists  # noqa: E402

from speechlm.bin.command import run_main  # noqa: E402
from speechlm.data.voices import read_cast  # noqa: E402


def main() -> None:
    parser = list_parser(__doc__, lines=8000)
    parser.add_argument("--words", type=Path, default=HERE / "common_words.txt")
    parser.add_argument("--voices", type=Path, default=CVSS / "voices_pico_many.yaml")
    args = parser.parse_args()
    voices = read_cast(args.voices).train
    lists = partial(draw, read_lines(args.words))
    write_lists(args, lists, voices, [args.words, args.voices], spoken_by=voices[0].by)


def draw(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Return random word lists; the word of rank n is drawn with a probability like one over the root of n."""
    weights = [(rank + 1) ** -0.5 for rank in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=rng.randint(2, 7))) for _ in range(count)]


if __name__ == "__main__":
    run_main(main)
