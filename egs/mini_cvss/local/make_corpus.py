"""Write the mini_cvss corpus: sentence pairs from a grammar, spoken by synthetic voices.

`--target_voice NAME` makes CVSS-C in miniature: many speakers are translated, and one speaks all translations; in
train_mono and test_unheard each speaker speaks the target language too. `--target_voice same` makes CVSS-T: the source
and the target of a pair have the same speaker. The sentences of dev and test occur in no training set, in either
language.
"""

import argparse
import json
import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from speechlm.bin.command import run_main
from speechlm.data.audio import save_wav
from speechlm.data.files import atomic_write, remove_abandoned, settings_digest, sizes, stage
from speechlm.data.grammar import Grammar
from speechlm.data.kaldi import write_data_dir
from speechlm.data.settings import Count, Option, Positive, read_json
from speechlm.data.voices import AnyVoice, Cast, read_cast

SAMPLE_RATE_HZ = 16000
SAME = "same"  # the target has the source's speaker
SHARD = 100  # utterances spoken in one fresh process; fixed, so that --nj does not change a sample
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Utterance:
    """One sentence in every language of a pair, by a speaker; `others` speak some of the languages instead."""

    id: str
    voice: AnyVoice
    text: dict[str, str]
    others: dict[str, AnyVoice] = field(default_factory=dict)

    def speak(self, lang: str) -> np.ndarray:
        """Return float32 samples in [-1, 1]."""
        return self.others.get(lang, self.voice).speak(self.text[lang], lang, SAMPLE_RATE_HZ)


def split_sentences(grammar: Grammar, sizes: dict[str, int], seed: int) -> dict[str, list[dict[str, str]]]:
    """Return disjoint sets of sentences: distinct in every language, hence unseen across sets."""
    sentences = iter(grammar.sample_distinct(sum(sizes.values()), random.Random(seed)))
    return {name: [next(sentences) for _ in range(size)] for name, size in sizes.items()}


def text_tables(languages: list[str], lines: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return {"text.<language>": {id: sentence}}."""
    return {f"text.{lang}": {key: text[lang] for key, text in lines.items()} for lang in languages}


@dataclass(frozen=True)
class Shard:
    """The utterances that one process speaks, to `<folder>/wav.<lang>/<id>.wav`. A finished shard is kept."""

    folder: Path
    languages: list[str]
    utterances: list[Utterance]

    @property
    def files(self) -> list[str]:
        return [f"wav.{lang}/{utterance.id}.wav" for utterance in self.utterances for lang in self.languages]

    @property
    def record(self) -> Path:
        """Where the sizes of the finished files are noted; the name says what was spoken."""
        said = [asdict(u) | {"by": u.voice.by} for u in self.utterances]
        return self.folder / f".spoken.{settings_digest({'files': self.files, 'said': said})}.json"

    def is_done(self) -> bool:
        return self.record.is_file() and read_json(self.record) == sizes(self.folder, self.files)


def speak_shard(shard: Shard) -> None:
    """Speak a shard's utterances."""
    for utterance in shard.utterances:
        for lang in shard.languages:
            save_wav(shard.folder / f"wav.{lang}" / f"{utterance.id}.wav", utterance.speak(lang), SAMPLE_RATE_HZ)
    with atomic_write(shard.record) as stream:
        json.dump(sizes(shard.folder, shard.files), stream)


def speak_in_own_process(shard: Shard) -> int:
    """Speak a shard in a fresh process; return its number of utterances. ValueError if the process dies: espeak-ng can
    crash.
    """
    process = multiprocessing.get_context("spawn").Process(target=speak_shard, args=(shard,))
    process.start()
    process.join()
    if process.exitcode:
        first, last = shard.utterances[0], shard.utterances[-1]
        raise ValueError(
            f"{shard.folder}: the process that spoke {first.id} to {last.id} ended with status {process.exitcode}."
            " Expected voices that the synthesizer can speak, and enough memory: see above, correct the voices, and"
            " run the same command again."
        )
    return len(shard.utterances)


def write_spoken(folder: Path, languages: list[str], utterances: list[Utterance], jobs: int) -> None:
    utterances = sorted(utterances, key=lambda u: u.id)
    remove_abandoned(folder)
    shards = [Shard(folder, languages, utterances[i : i + SHARD]) for i in range(0, len(utterances), SHARD)]
    for record in set(folder.glob(".spoken.*.json")) - {shard.record for shard in shards}:
        record.unlink()  # of other utterances, whose files are overwritten now
    todo = [shard for shard in shards if not shard.is_done()]
    start, done, total = time.monotonic(), 0, sum(len(shard.utterances) for shard in todo)
    with ThreadPoolExecutor(jobs) as pool:
        for count in pool.map(speak_in_own_process, todo):
            done += count
            left_sec = (time.monotonic() - start) / done * (total - done)
            print(f"\r{folder.name}: {done}/{total} utterances spoken, {left_sec:.0f} s left ", end="", flush=True)
    print(f"{folder.name}: {len(shards) - len(todo)} of {len(shards)} shards were complete")
    tables = text_tables(languages, {u.id: u.text for u in utterances})
    tables |= {f"wav.scp.{lang}": {u.id: f"{folder}/wav.{lang}/{u.id}.wav" for u in utterances} for lang in languages}
    write_data_dir(folder, tables | {"utt2spk": {u.id: u.voice.name for u in utterances}})


def cast(name: str, sentences: list[dict[str, str]], voices: list[AnyVoice], **others: AnyVoice) -> list[Utterance]:
    """Give the sentences to the voices in turn; of a language in `others`, its voice speaks all."""
    pairs = ((voices[i % len(voices)], i, text) for i, text in enumerate(sentences))
    return [Utterance(f"{voice.name}-{name}-{i:05d}", voice, text, others) for voice, i, text in pairs]


def find_target(name: str, lang: str, voices: Cast) -> dict[str, AnyVoice]:
    """Return {language: who speaks it in every pair}, empty for `same`; ValueError for a name that no voice has."""
    named = {voice.name: {lang: voice} for voice in voices.train} | {SAME: {}}
    if name not in named:
        raise ValueError(f"--target_voice {name}: expected one of {', '.join(named)}")
    return named[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--languages", default="es,en", help="source,target")
    parser.add_argument("--pairs", type=Option(Positive), default=8000, help="spoken training pairs")
    parser.add_argument(
        "--mono", type=Option(Count), default=12000, help="further training utterances in the target language only"
    )
    parser.add_argument("--text_pairs", type=Option(Count), default=20000, help="training pairs as text only")
    parser.add_argument("--eval_pairs", type=Option(Positive), default=200, help="pairs in dev and in each test set")
    parser.add_argument("--grammar", type=Path, default=HERE / "grammar.yaml")
    parser.add_argument("--voices", type=Path, default=HERE / "voices.yaml")
    parser.add_argument(
        "--target_voice",
        default=SAME,
        help="voice of all translations in train, dev and test; same: the speaker of the source",
    )
    parser.add_argument("--seed", type=Option(Count), default=1)
    parser.add_argument("--nj", type=Option(Positive), default=2)
    args = parser.parse_args()

    languages = args.languages.split(",")
    voices = read_cast(args.voices)
    settings = {k: str(v) for k, v in vars(args).items() if k not in ("nj", "grammar", "voices")}
    settings["spoken_by"] = ", ".join(sorted({voice.by for voice in voices.train + voices.unheard}))
    outputs = [f"*/{name}" for name in ("text.*", "wav.scp.*", "utt2spk", "spk2utt", "wav.*/*.wav")]
    with stage(args.out, "mini_cvss", settings, [args.grammar, args.voices], outputs) as todo:
        if todo:
            make(args, languages, voices)


def make(args: argparse.Namespace, languages: list[str], voices: Cast) -> None:
    grammar, target = Grammar(args.grammar), find_target(args.target_voice, languages[-1], voices)
    unknown = set(languages) - set(grammar.languages)
    if unknown:
        raise ValueError(f"--languages {args.languages}: {args.grammar} has {grammar.languages}, not {sorted(unknown)}")
    sizes = {
        "dev": args.eval_pairs,
        "test": args.eval_pairs,
        "test_unheard": args.eval_pairs,
        "text_test": args.eval_pairs,
    }
    sizes |= {"train": args.pairs, "text_train": args.text_pairs, "train_mono": args.mono}
    sets = split_sentences(grammar, sizes, args.seed)
    for name in ("text_train", "text_test"):
        lines = {f"{name}-{i:06d}": text for i, text in enumerate(sets[name])}
        write_data_dir(args.out / name, text_tables(languages, lines))
    for name in ("train", "train_mono", "dev", "test", "test_unheard"):
        group = voices.unheard if name == "test_unheard" else voices.train
        spoken = languages[-1:] if name == "train_mono" else languages
        others = {} if name in ("train_mono", "test_unheard") else target
        write_spoken(args.out / name, spoken, cast(name, sets[name], group, **others), args.nj)


if __name__ == "__main__":
    run_main(main)
