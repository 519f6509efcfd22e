"""Recognisers on tiny random networks of the real classes, with real tokenizers and feature extractors, made here."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch
import yaml

from speechlm.data import pool
from speechlm.data.audio import save_wav
from speechlm.data.pool import pool_on
from speechlm.espnet_start import quick_imports
from speechlm.metrics.recognisers import load_recogniser
from speechlm.metrics.speech import _start, transcribe
from tests.metrics.small import WAV2VEC
from tests.pools import InProcess

LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4} | {
    letter: 5 + i for i, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
}


@pytest.fixture(scope="module")
def wavs(tmp_path_factory) -> list[str]:
    """Noises of several lengths and rates, two of one length, one of 10 ms, and a file without samples."""
    folder, rng, paths = tmp_path_factory.mktemp("wavs"), np.random.default_rng(0), []
    for i, (seconds, rate_hz) in enumerate([(1.0, 16000), (0.3, 8000), (2.3, 24000), (1.0, 16000), (0.01, 16000)]):
        paths.append(str(folder / f"{i}.wav"))
        save_wav(paths[-1], np.cumsum(rng.standard_normal(round(seconds * rate_hz))) * 0.005 * (i + 1), rate_hz)
    soundfile.write(folder / "nothing.wav", np.zeros(0), 16000)
    return [*paths, str(folder / "nothing.wav")]


def make_ctc(folder, kind: str, masked: bool):
    from transformers import (
        HubertConfig,
        HubertForCTC,
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    torch.manual_seed(0)
    config, network = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC), "hubert": (HubertConfig, HubertForCTC)}[kind]
    small = WAV2VEC | {"vocab_size": len(LETTERS), "pad_token_id": 0}
    network = network(
        config(**small, feat_extract_norm="layer" if masked else "group", do_stable_layer_norm=masked)
    ).eval()
    torch.nn.init.normal_(network.lm_head.weight)
    network.save_pretrained(folder)
    (folder / "letters.json").write_text(json.dumps(LETTERS))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "letters.json"), word_delimiter_token="|")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=masked), tokenizer).save_pretrained(folder)
    (folder / "letters.json").unlink()
    return folder


@pytest.mark.parametrize("kind, masked", [("wav2vec2", False), ("wav2vec2", True), ("hubert", True)])
def test_ctc_transcripts_do_not_depend_on_the_batch(tmp_path, wavs, kind, masked):
    recogniser = load_recogniser(f"ctc:{make_ctc(tmp_path, kind, masked)}")
    together = recogniser.transcribe(wavs, "en")
    assert together == [recogniser.transcribe([wav], "en")[0] for wav in wavs]
    assert together[-1] == "" and len(set(together)) >= 4 and all(together[:3])
    network, processor = recogniser.network, recogniser.processor
    audio, _ = soundfile.read(wavs[0], dtype="float32")
    with torch.inference_mode():
        logits = network(processor(audio, sampling_rate=16000, return_tensors="pt").input_values).logits
    assert together[0] == " ".join(processor.batch_decode(logits.argmax(-1))[0].split())
    assert recogniser.signature.startswith(f"ctc:{tmp_path.name}@") and recogniser.signature.endswith("decoding:greedy")
    with pytest.raises(ValueError, match="decodes greedily only"):
        load_recogniser(f"ctc:{tmp_path}", beam=5)


def make_whisper(folder):
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    torch.manual_seed(0)
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(bytes_to_unicode().values())}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    names = [
        "<|startoftranscript|>",
        "<|en|>",
        "<|es|>",
        "<|transcribe|>",
        "<|translate|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", *names)}
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_target_positions=448,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        pad_token_id=ids["<|endoftext|>"], bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|endoftext|>"],
        suppress_tokens=None, begin_suppress_tokens=None, tie_word_embeddings=False,
    )  # fmt: skip
    network = WhisperForConditionalGeneration(config).eval()
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
    network.proj_out.weight.data[letters] *= 100  # so that it says letters
    layer = network.model.decoder.layers[0]
    for weight in (
        network.model.decoder.embed_tokens.weight,
        *layer.encoder_attn.parameters(),
        *layer.self_attn.parameters(),
    ):
        torch.nn.init.normal_(weight)
    found = network.generation_config
    found._from_model_config = False
    found.is_multilingual, found.max_length, found.return_timestamps = True, 24, False
    found.lang_to_id = {"<|en|>": ids["<|en|>"], "<|es|>": ids["<|es|>"]}
    found.task_to_id = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    found.no_timestamps_token_id, found.prev_sot_token_id = ids["<|notimestamps|>"], ids["<|startofprev|>"]
    found.suppress_tokens, found.max_initial_timestamp_index = [0, 1], 50
    network.save_pretrained(folder)
    return folder


def test_whisper_reads_short_and_long_recordings(tmp_path, wavs):
    recogniser = load_recogniser(f"whisper:{make_whisper(tmp_path)}")
    long = str(tmp_path / "long.wav")
    save_wav(long, np.random.default_rng(1).standard_normal(16000 * 35) * 0.1, 16000)
    together = recogniser.transcribe([*wavs, long], "en")
    assert together[:-1] == [recogniser.transcribe([wav], "en")[0] for wav in wavs]
    assert together[5] == "" and all(together[:3]) and together[-1] and "<|" not in " ".join(together)
    inputs = recogniser.processor(soundfile.read(wavs[0])[0], sampling_rate=16000, return_tensors="pt")
    ids = recogniser.network.generate(inputs.input_features, language="en", task="transcribe")
    assert together[0] == " ".join(recogniser.processor.batch_decode(ids, skip_special_tokens=True)[0].split())
    assert together[:3] != recogniser.transcribe(wavs[:3], "es")
    assert load_recogniser(f"whisper:{tmp_path}", beam=2).signature.endswith("decoding:beam2")


def make_espnet(folder):
    """A CTC/attention recogniser as an ESPnet training leaves it: config.yaml with all settings, and one checkpoint."""
    with quick_imports():
        from espnet2.tasks.asr import ASRTask

    torch.manual_seed(0)
    config = vars(ASRTask.get_parser().parse_args(["--output_dir", str(folder)])) | {
        "token_list": ["<blank>", "<unk>", *"abcdefgh", "<space>", "<sos/eos>"], "token_type": "char",
        "frontend": "default",
        "frontend_conf": {"fs": "16k", "n_mels": 20}, "specaug": None, "normalize": "utterance_mvn",
        "normalize_conf": {},
        "encoder": "transformer", "encoder_conf": {"output_size": 16, "attention_heads": 2, "linear_units": 16,
        "num_blocks": 1},
        "decoder": "transformer", "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
        "model_conf": {"ctc_weight": 0.5},
    }  # fmt: skip
    plain = {
        key: value
        for key, value in config.items()
        if isinstance(value, (str, int, float, bool, list, dict, type(None)))
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    import argparse

    torch.save(ASRTask.build_model(argparse.Namespace(**config)).state_dict(), folder / "valid.acc.ave.pth")
    return folder


@pytest.mark.parametrize("kind", ["whisper", "faster-whisper"])
def test_real_weights_understand_speech(tmp_path, kind):
    """SPEECHLM_WHISPER, SPEECHLM_FASTER_WHISPER: folders of a multilingual Whisper's weights, in transformers' and in
    CTranslate2's format.
    """
    from speechlm.data.pico import Speaker

    folder = os.environ.get(f"SPEECHLM_{kind.upper().replace('-', '_')}")
    if not folder:
        pytest.skip(f"SPEECHLM_{kind.upper().replace('-', '_')} names no folder with weights")
    if kind == "faster-whisper":
        pytest.importorskip("faster_whisper")
    said = {"en": "my mother is in the garden today", "es": "mi madre está en el jardín hoy"}
    for lang, text in said.items():
        save_wav(tmp_path / f"{lang}.wav", Speaker("x").speak(text, lang, 16000), 16000)
        heard = load_recogniser(f"{kind}:{folder}").transcribe([str(tmp_path / f"{lang}.wav")], lang)[0]
        assert heard.lower().strip(" .") == text


def test_espnet_models_are_read_from_their_folder(tmp_path, wavs):
    folder = make_espnet(tmp_path)
    recogniser = load_recogniser(f"espnet:{folder}", beam=2)
    heard = recogniser.transcribe(wavs[:1] + wavs[-1:], "en")
    assert heard[0] and set(heard[0]) <= set("abcdefgh ") and heard[1] == ""
    (folder / "second.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="expected a meta.yaml .* or config.yaml with exactly one .pth"):
        load_recogniser(f"espnet:{folder}")
    (folder / "meta.yaml").write_text(
        "files: {asr_model_file: valid.acc.ave.pth}\nyaml_files: {asr_train_config: config.yaml}\n"
    )
    assert load_recogniser(f"espnet:{folder}", beam=2).transcribe(wavs[:1], "en") == heard[:1]


def test_what_is_missing_is_one_message_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ValueError,
        match="hf download some/model --revision v2 --local-dir FOLDER; copy FOLDER here and write ctc:FOLDER",
    ):
        load_recogniser("ctc:some/model@v2")
    with pytest.raises(ValueError, match="expected KIND:MODEL.* judge, ctc, whisper, faster-whisper, espnet"):
        load_recogniser("kaldi:model")
    with pytest.raises(ValueError, match="faster-whisper"):
        load_recogniser(f"faster-whisper:{tmp_path}")


class Interrupted(Exception):
    pass


def test_an_interrupted_transcription_goes_on_where_it_was(tmp_path, wavs, monkeypatch, capsys):
    monkeypatch.setattr("speechlm.metrics.speech.BATCH", 2)

    class Counting:
        """Hears the name of the file, until it is interrupted."""

        signature, languages, heard, allowed = "counting", (), [], 3

        def transcribe(self, paths, lang):
            for path in paths:
                if len(self.heard) == self.allowed:
                    raise Interrupted
                self.heard.append(path)
            return [path.rpartition("/")[2] for path in paths]

    recogniser, named = Counting(), dict(zip("fedcba", wavs))
    with pytest.raises(Interrupted):
        transcribe(recogniser, named, "en", tmp_path / "heard")
    assert not (tmp_path / "heard").exists()
    recogniser.allowed = 99
    transcribe(recogniser, named, "en", tmp_path / "heard")
    assert len(recogniser.heard) == 3 + 4  # of the second batch one was lost
    assert (tmp_path / "heard").read_text().splitlines()[0] == "a nothing.wav" and not list(tmp_path.glob(".parts*"))
    assert "6 utterances done, batch 3/3, 0 s left" in capsys.readouterr().out
    assert transcribe(recogniser, named, "en", tmp_path / "heard") == dict(
        zip("fedcba", (w.rpartition("/")[2] for w in wavs))
    )
    assert len(recogniser.heard) == 7
    save_wav(wavs[3], np.ones(800, np.float32) * 0.1, 16000)
    transcribe(recogniser, named, "en", tmp_path / "heard")
    assert len(recogniser.heard) == 7 + 6  # a recording changed


def test_on_several_devices_a_recogniser_each_hears_a_part(tmp_path, wavs, monkeypatch):
    monkeypatch.setattr("speechlm.metrics.speech.BATCH", 2)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", InProcess)
    recogniser, named = load_recogniser("judge_en"), dict(zip("fedcba", wavs))
    one = transcribe(recogniser, named, "en", tmp_path / "one/heard")
    many = transcribe(
        recogniser, named, "en", tmp_path / "many/heard", lambda: pool_on(["cpu"] * 2, _start, "judge_en", 1)
    )
    assert many == one and (tmp_path / "many/heard").read_text() == (tmp_path / "one/heard").read_text()
