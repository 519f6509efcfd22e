"""Makes experiments to report on, scored by the real code."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from speechlm.bin import report
from speechlm.data.audio import save_wav
from speechlm.data.kaldi import write_data_dir
from speechlm.metrics.protocol import rules_for
from speechlm.metrics.rows import write_lines, write_rows
from speechlm.metrics.scoring import Output, score_texts

WORDS = "the boy finds a red lamp in my garden this morning and sells it to her brother at the market".split()
WAVS = 40  # recordings of each system, used in turn
EVIL = '</script><script>alert("1")</script><img src=x onerror=alert(2)>'


class Maker:
    """Makes a recipe's folder: data/ with two sets, and experiments of it; everything follows from the seed."""

    def __init__(self, root: Path, utterances: int, sec: float = 0.6):
        self.root, self.sec = root, sec
        self.rng = np.random.default_rng(0)
        self.keys = [f"{'anna' if i % 2 else 'bert'}-{i:04d}" for i in range(utterances)]
        self.speakers = {key: key.split("-")[0] for key in self.keys}
        self.refs = {key: " ".join(self.rng.choice(WORDS, self.rng.integers(3, 12))) for key in self.keys}
        tables = {
            "utt2spk": self.speakers,
            "text.es": {key: f"es {text}" for key, text in self.refs.items()},
            "text.en": self.refs,
        }
        tables["wav.scp.es"] = self.wavs("data/test/wav.es", "es")
        write_data_dir(root / "data/test", tables)
        write_data_dir(
            root / "data/train",
            {"utt2spk": {"anna-x": "anna"}, "text.en": {"anna-x": "a"}, "wav.scp.en": {"anna-x": "x.wav"}},
        )

    def wavs(self, folder: str, name: str) -> dict[str, str]:
        """Write recordings; return {utterance: path as the recipe writes it}."""
        for number in range(min(WAVS, len(self.keys))):
            time_T = np.arange(int(16000 * self.sec * self.rng.uniform(0.7, 1.3))) / 16000
            tone = np.sin(2 * np.pi * time_T * self.rng.uniform(100, 300)) * np.sin(2 * np.pi * 3 * time_T) ** 2
            save_wav(
                self.root / folder / f"{name}{number}.wav",
                (0.4 * tone + self.rng.normal(0, 0.02, len(time_T))).astype(np.float32),
                16000,
            )
        return {key: f"{folder}/{name}{i % WAVS}.wav" for i, key in enumerate(self.keys)}

    def hyps(self, error: float) -> dict[str, str]:
        """Return the references with words replaced."""
        change = lambda word: str(self.rng.choice(WORDS)) if self.rng.random() < error else word  # noqa: E731
        return {key: " ".join(map(change, text.split())) for key, text in self.refs.items()}

    def score(self, folder: str, task: str, model: str, hyps: dict[str, str], spoken: bool = True) -> None:
        """Write score.json and utterances.jsonl as the scoring commands do."""
        rules = rules_for(["mini"], task)
        wavs = self.wavs(f"{folder}/wav", model.replace(" ", "_")) if spoken else {}
        scores, lines = score_texts(
            rules, Output(task, "en", hyps, self.refs, self.speakers, wavs), "judge:x" if spoken else ""
        )
        write_lines(self.root / folder / "utterances.jsonl", lines)
        write_rows(
            self.root / folder / "score.json", [score.to_row(rules, model, task, "test", "") for score in scores]
        )

    def experiment(self, name: str, error: float, train_loss: float = 3.0) -> Path:
        """Write an experiment with speech translation, its ceilings, translation to text, and a training."""
        self.score(f"{name}/sft_s2st/score", "s2st", "sft", self.hyps(error))
        self.score(f"{name}/sft_s2tt/score", "s2tt", "sft", self.hyps(error / 2), spoken=False)
        if not (self.root / "ceiling").exists():
            self.score("ceiling/s2st_originals", "s2st", "originals", self.hyps(0))
            self.score("ceiling/s2st_reconstruction", "s2st", "codec reconstruction", self.hyps(0.05))
        shutil.copytree(self.root / "ceiling", self.root / name / "ceiling/test")
        with open(self.root / name / "sft_s2st/train.jsonl", "w") as stream:
            for kind, step, loss in (("train", 50, train_loss), ("train", 100, 2.0), ("valid", 100, 2.1)):
                stream.write(
                    json.dumps({"kind": kind, "step": step, "loss": loss, "code0": loss / 2, "positions": 7.0}) + "\n"
                )
        return self.root / name


def make_report(*arguments) -> None:
    """Run the command in this process."""
    sys.argv = ["report", *map(str, arguments)]
    report.main()
