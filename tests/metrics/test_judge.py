"""The judge: what it needs to be trusted with scores, whatever its weights; and the shipped one's hearing."""

import numpy as np
import pytest
import soundfile
import torch
import yaml

from speechlm.bin.train_judge import DEFAULT_CONFIG
from speechlm.data.audio import save_wav
from speechlm.data.espeak import Voice, speak
from speechlm.metrics.judge import Judge
from speechlm.metrics.judge.hearing import FLOOR_DB, GRID_SEC, LEVEL, RATE_HZ, prepare, vary
from speechlm.metrics.judge.network import JudgeConfig, build_network, token_list
from speechlm.metrics.judge.recogniser import save_judge
from speechlm.metrics.text import ErrorRate


@pytest.fixture(scope="module")
def random_judge(tmp_path_factory):
    """A folder with an untrained judge: it babbles, which shows what its transcripts depend on."""
    torch.manual_seed(0)
    settings = yaml.safe_load(DEFAULT_CONFIG.read_text())
    tokens = token_list("en")
    config = JudgeConfig(
        "en", RATE_HZ, tokens, settings["frontend_conf"], settings["encoder"], settings["encoder_conf"]
    )
    folder = tmp_path_factory.mktemp("judge")
    network = build_network(config)
    torch.nn.init.normal_(network.ctc.ctc_lo.weight)
    save_judge(folder, config, network.state_dict())
    return folder


@pytest.fixture
def wavs(tmp_path):
    """Noises of several lengths, rates and levels, and one file without samples."""
    rng = np.random.default_rng(0)
    paths = []
    for i, (seconds, rate_hz) in enumerate([(1.0, 16000), (0.3, 8000), (1.02, 24000), (0.01, 16000), (0.98, 16000)]):
        paths.append(tmp_path / f"{i}.wav")
        save_wav(paths[-1], rng.standard_normal(round(seconds * rate_hz)) * 0.1 * (i + 1), rate_hz)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16000)
    return [*paths, tmp_path / "nothing.wav"]


def test_transcripts_do_not_depend_on_the_batch(random_judge, wavs):
    judge = Judge.load(random_judge)
    together = judge.transcribe(wavs, batch_size=4)
    assert together == [judge.transcribe([wav])[0] for wav in wavs]
    assert together[-1] == "" and all(together[:3]) and len(set(together)) > 3
    assert judge.fingerprint[:12] in judge.signature and "greedy" in judge.signature


def test_hearing_has_one_level_one_grid_and_a_noise_floor():
    tone_T = np.sin(np.arange(16000) * 0.2).astype(np.float32)
    quiet_T, loud_T = (prepare(gain * tone_T, 16000) for gain in (0.01, 0.9))
    assert np.allclose(quiet_T, loud_T, atol=1e-4) and len(loud_T) % (GRID_SEC * RATE_HZ) == 0
    silence_T = prepare(np.zeros(1600, np.float32), 16000)
    assert silence_T.std() == pytest.approx(LEVEL * 10 ** (FLOOR_DB / 20), rel=0.1)
    one_T, same_T = (vary(tone_T, 16000, np.random.default_rng(3)) for _ in range(2))
    assert (one_T == same_T).all()


def test_repeats_merge_unless_a_blank_is_between(random_judge):
    judge = Judge.load(random_judge)
    ids = {name: i for i, name in enumerate(judge.config.token_list)}
    frames = ["h", "h", "e", "l", "<blank>", "l", "o", "<space>", "<space>", "<blank>", "<space>", "a"]
    assert judge._collapse([ids[name] for name in frames]) == "hello a"


def test_what_is_no_judge_is_refused(random_judge, tmp_path):
    with pytest.raises(ValueError, match="neither a folder .* nor a shipped judge"):
        Judge.load("judge_of_nothing")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((random_judge / name).read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a judge's configuration"):
        Judge.load(tmp_path)
    (tmp_path / "config.json").write_bytes((random_judge / "config.json").read_bytes())
    with pytest.raises(ValueError, match="not this judge's weights"):
        Judge.load(tmp_path)


def test_the_shipped_judge_spells_a_voice_that_it_never_heard(tmp_path):
    voice = Voice("stranger", pitch_low_hz=130, pitch_high_hz=185, formant_percent=107, rate_wpm=172)
    sentences = [
        "the woman does not buy a small hat",
        "seven three nine",
        "house dog flower",
        "my brother finds the river",
    ]
    for i, sentence in enumerate(sentences):
        save_wav(tmp_path / f"{i}.wav", speak(sentence, "en-us", voice, 16000), 16000)
    heard = Judge.load("judge_en").transcribe([tmp_path / f"{i}.wav" for i in range(4)])
    assert ErrorRate("WER").counts(heard, sentences)[:, :3].sum() <= 1  # of 19 words, one may be misspelt
