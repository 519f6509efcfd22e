"""A recipe's experiment in miniature, written as a run writes it: models of four tasks with random weights, codes,
scores.
"""

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.signal import lfilter
from transformers import LlamaConfig, LlamaForCausalLM

from speechlm.bin.text_tokenizer import train_tokenizer
from speechlm.codecs import load_codec
from speechlm.data.audio import load_wav, save_wav
from speechlm.data.codes import write_codec, write_codes
from speechlm.data.manifest import build_manifest, write_manifest
from speechlm.metrics.rows import Row, write_rows
from speechlm.model.speechlm import SpeechLM
from speechlm.model.weights import save_weights
from speechlm.tokens.text import load_text_tokenizer
from speechlm.tokens.vocabulary import make_vocabulary

RATE_HZ = 16000
TASKS = ("asr", "tts", "s2tt", "s2st")
IDS = ("anna-1", "anna-2", "bert-1", "bert-2")
TEXTS = {
    "es": ["el gato duerme", "la casa es roja", "mi perro come", "el mar es azul"],
    "en": ["the cat sleeps", "the house is red", "my dog eats", "the sea is blue"],
}
ROWS = {"text": 12, "speech": 14}
PROMPT_FRAMES = 6


def sound(sec: float = 1.0, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return a sound like speech: pulses of a voice through the resonances of a vowel, that come and go."""
    rng, time_N = np.random.default_rng(seed), np.arange(int(sec * rate_hz)) / rate_hz
    pitch_N = 110 + 12 * (seed % 8) + 10 * np.sin(2 * np.pi * 1.5 * time_N)
    wav_N = np.diff(np.floor(np.cumsum(pitch_N) / rate_hz), prepend=0.0) + rng.normal(0, 0.005, len(time_N))
    for formant_hz, width_hz in ((300 + 60 * (seed % 7), 80), (1100 + 150 * (seed % 5), 110), (2500, 160)):
        radius = np.exp(-np.pi * width_hz / rate_hz)
        turn = -2 * radius * np.cos(2 * np.pi * formant_hz / rate_hz)
        wav_N = lfilter([1 - radius], [1, turn, radius**2], wav_N)
    wav_N *= np.sin(4 * np.pi * time_N) ** 2
    return (0.4 * wav_N / np.abs(wav_N).max() + rng.normal(0, 0.002, len(time_N))).astype(np.float32)


def make_experiment(root: Path, tasks: tuple[str, ...] = TASKS) -> Path:
    """Write root/{data,dump,exp} and root/a.wav, b.wav; return root/exp."""
    codec = load_codec("codec_16k")
    for name, seed in (("a", 5), ("b", 6)):
        save_wav(root / f"{name}.wav", sound(1.0, seed), RATE_HZ)
    _write_set(root, codec)
    llm = root / "exp/llm"
    llm.mkdir(parents=True)
    train_tokenizer([text for texts in TEXTS.values() for text in texts] * 20, 300, llm / "tokenizer.model")
    text = load_text_tokenizer(str(llm))
    vocab = make_vocabulary(text, codec, [*TASKS, "t2st", "continuation"], ["es", "en"], "parallel")
    for seed, task in enumerate(tasks):
        _write_model(root / f"exp/sft_{task}", task, vocab, llm / "tokenizer.model", seed)
    write_rows(
        root / "exp/results.json",
        [Row("sft", "asr", "test", "wer", 2.75, 200, "protocol:mini|codec:codec_16k", 2.0, 3.5, "mini")],
    )
    return root / "exp"


def _write_set(root: Path, codec) -> None:
    """Write a development set of two speakers, in two languages."""
    data, dump = root / "data/dev", root / "dump/codec_16k/dev"
    data.mkdir(parents=True), dump.mkdir(parents=True)
    (data / "utt2spk").write_text("".join(f"{key} {key[:4]}\n" for key in IDS))
    for lang, texts in TEXTS.items():
        (data / f"text.{lang}").write_text("".join(f"{key} {text}\n" for key, text in zip(IDS, texts)))
        wavs = {key: data / f"{key}.{lang}.wav" for key in IDS}
        for number, path in enumerate(wavs.values()):
            save_wav(path, sound(1.2, number + len(lang)), RATE_HZ)
        (data / f"wav.scp.{lang}").write_text("".join(f"{key} {path}\n" for key, path in wavs.items()))
        write_codes(dump, {key: codec.encode(load_wav(path, RATE_HZ)[0]) for key, path in wavs.items()})
        text = (dump / "codes.scp").read_text().replace("codes.ark", f"codes.{lang}.ark")
        (dump / "codes.ark").rename(dump / f"codes.{lang}.ark"), (dump / "codes.scp").unlink()
        (dump / f"codes.{lang}.scp").write_text(text)
    write_codec(dump, "codec_16k", codec.fingerprint)
    write_manifest(dump / "manifest.jsonl", build_manifest(data, dump, "es"))


def _write_model(folder: Path, task: str, vocab, tokenizer: Path, seed: int) -> None:
    """Write a model's folder, with the config.yaml of its training and the decode.json of a decoding."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab.text_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256, tie_word_embeddings=False, initializer_range=0.3,
    )  # fmt: skip
    model = SpeechLM(LlamaForCausalLM(config), vocab)
    for head in (model.new_head, model.llm.lm_head):
        torch.nn.init.normal_(head.weight, std=0.3)
    (folder / "llm").mkdir(parents=True)
    config.save_pretrained(folder / "llm")
    (folder / "llm/tokenizer.model").write_bytes(tokenizer.read_bytes())
    vocab.save(folder / "vocab.json")
    save_weights(folder / "model.safetensors", model)
    settings = {
        "mixture": {task: 1.0}, "task_langs": {"tts": ["en"]}, "langs": ["es", "en"], "src_lang": "es",
        "tgt_lang": "en", "directions": [],
        "codec": "codec_16k", "prompt_frames": PROMPT_FRAMES, "dump": "dump/codec_16k", "dev_set": ["dev"],
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    kind = "speech" if task in ("tts", "s2st") else "text"
    out = folder / f"decode_{task}_dev_en"
    out.mkdir()
    beam = {"beam": 2} if kind == "text" else {}
    (out / "decode.json").write_text(
        json.dumps({"task": task, kind: beam | {"max_rows": ROWS[kind]}, "prompt_frames": PROMPT_FRAMES})
    )
