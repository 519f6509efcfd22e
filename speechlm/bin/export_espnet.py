"""Export coded sets for the trainer of ESPnet's own speech LM (espnet2.speechlm, release 202611).

    python -m speechlm.bin.export_espnet --data data --dump dump/codec_16k --sets train dev --tasks asr s2st \\
        --src_lang es --tgt_lang en --out exp/espnet_data

For each set and task there are

    <out>/<set>.<task>.jsonl    a dialogue for each example: {"example_id": ..., "messages": [[role, modality, content],
    ...]}
    <out>/<set>.<task>.json     the index for its trainer: --train-unregistered-specifier
    dialogue:NAME:FILE.json

The examples are those that a training here would draw: the same utterances, tasks and voice prompts. The first message
of each names the task and the languages, as our first tokens do. ESPnet's trainer encodes recordings while it trains,
with ESPnet's codecs or X-codec, and takes no stored codes; so it is given the recordings, and segments of long
recordings as separate files (<out>/audio/).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import soundfile

from speechlm.bin.command import run_main
from speechlm.data.audio import Span, load_wav
from speechlm.data.files import atomic_write
from speechlm.data.kaldi import read_audio
from speechlm.data.manifest import load_manifest
from speechlm.data.recording import split_place
from speechlm.tasks import get_task
from speechlm.tasks.examples import Item, PromptIndex, list_items

Message = tuple[str, str, str]  # role, modality, content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the Kaldi directories")
    parser.add_argument("--dump", type=Path, required=True, help="folder of the coded sets")
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument(
        "--langs", nargs="+", default=[], help="languages of asr, tts, ... (default: source and target)"
    )
    parser.add_argument("--src_lang", required=True)
    parser.add_argument("--tgt_lang", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    langs = args.langs or list(dict.fromkeys([args.src_lang, args.tgt_lang]))
    for name in args.sets:
        exporter = Exporter(args.data / name, args.dump / name, args.out)
        for task in map(get_task, args.tasks):
            pairs = [(lang, lang) for lang in langs] if task.languages == "same" else [(args.src_lang, args.tgt_lang)]
            path, count = exporter.write(task, pairs)
            print(
                f"{path}: {count} examples; its trainer takes them by --train-unregistered-specifier"
                f" dialogue:{path.stem}:{path.resolve()}"
            )


class Exporter:
    """The dialogues of one set."""

    def __init__(self, data: Path, dump: Path, out: Path):
        self._data, self._out, self._name = data, out, data.name
        self._records = load_manifest(dump / "manifest.jsonl")
        self._prompts = PromptIndex(self._records, listed=False)
        self._spans: dict[str, dict[str, Span]] = {}  # by language, then by utterance

    def write(self, task, pairs: list[tuple[str, str]]) -> tuple[Path, int]:
        """Write the examples of a task; return the index and how many there are. ValueError if there are none."""
        items = list_items(task, self._records, pairs)
        if not len(items):
            raise ValueError(
                f"{self._data}: no example of {task.name} in {pairs}. Expected utterances that have"
                f" {', '.join(task.parts)}: see the sets, tasks and languages given."
            )
        dialogues, index = self._out / f"{self._name}.{task.name}.jsonl", self._out / f"{self._name}.{task.name}.json"
        ids = []
        with atomic_write(dialogues) as stream:
            for number, item in enumerate(items):
                ids.append(f"{item.record.id}.{item.src}-{item.tgt}")
                line = {"example_id": ids[-1], "messages": list(self._messages(item, number))}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        entry = {"name": "dialogue", "path": str(dialogues.resolve()), "reader": "dialogue"}
        with atomic_write(index) as stream:
            json.dump({"data_entry": [entry], "samples": sorted(ids)}, stream, ensure_ascii=False, indent=1)
        return index, len(ids)

    def _messages(self, item: Item, number: int) -> Iterator[Message]:
        prompt = self._prompts.for_item(item, number)
        yield "system", "text", " ".join([item.task.name, *dict.fromkeys([item.src, item.tgt])])
        for part in item.task.parts:
            role = "assistant" if part == item.task.target else "user"
            kind, lang = item.side(part)
            record = prompt if kind == "prompt" else item.record
            if kind == "text":
                yield role, "text", record.text[lang]
            elif record is not None:
                yield role, "audio", str(self._recording(record.id, lang))

    def _recording(self, key: str, lang: str) -> Path:
        """Return a file that holds this utterance alone."""
        if lang not in self._spans:
            self._spans[lang] = read_audio(self._data, lang)
        span = self._spans[lang][key]
        if span.end_sec is None and not span.start_sec and split_place(span.path)[1] is None:
            return Path(span.path).resolve()
        path = self._out / "audio" / self._name / lang / f"{key}.flac"
        if not path.exists():
            wav_T, rate_hz = load_wav(span.path, None, span.start_sec, span.end_sec)
            with atomic_write(path, "wb") as stream:
                soundfile.write(stream, wav_T, rate_hz, format="FLAC", subtype="PCM_16")
        return path.resolve()


if __name__ == "__main__":
    run_main(main)
