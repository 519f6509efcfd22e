"""The judge: a small recogniser that writes down what synthetic speech says, so that it can be scored.

It spells what it hears (CTC over characters, greedy, no language model): it neither completes nor corrects
sentences. Recordings are batched by equal length, so a transcript does not depend on what else is in the batch.
"""

import hashlib
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from speechlm.data.audio import load_wav
from speechlm.data.files import atomic_write
from speechlm.data.settings import fill, read_json
from speechlm.metrics.judge.hearing import prepare
from speechlm.metrics.judge.network import BLANK, SPACE, JudgeConfig, build_network, quiet
from speechlm.metrics.recognisers.base import has_no_samples

ASSETS = Path(__file__).parents[2] / "assets"


class Judge:
    """A trained recogniser; `transcribe` is all that scoring needs of it."""

    def __init__(self, config: JudgeConfig, network: torch.nn.Module, fingerprint: str):
        self.config, self.network, self.fingerprint = config, network.eval(), fingerprint

    @classmethod
    def load(cls, spec: str | Path) -> "Judge":
        """Load a judge shipped with the package ("judge_en") or a folder with config.json and model.safetensors.

        Raises ValueError if the folder is not a judge, or its weights do not fit its configuration.
        """
        from safetensors.torch import load_file

        folder = find_judge(spec)
        config = read_config(folder / "config.json")
        network = build_network(config)
        try:
            network.load_state_dict(_renamed(load_file(folder / "model.safetensors"), set(network.state_dict())))
        except Exception as error:  # safetensors and torch raise several kinds for a damaged or foreign file
            found = f"{folder}/model.safetensors: not this judge's weights ({str(error)[:200]})"
            raise ValueError(f"{found}. Train it: python -m speechlm.bin.train_judge") from None
        return cls(config, network, fingerprint(folder))

    @property
    def signature(self) -> str:
        return judge_signature(self.config, self.fingerprint)

    def transcribe(self, paths: list[str | Path], batch_size: int = 16) -> list[str]:
        """Return what is heard in each file, in order; a file without samples is heard as "".

        Raises ValueError naming a file that is missing or not audio.
        """
        heard = [""] * len(paths)
        waves = [(len(wav_T), i, wav_T) for i, path in enumerate(paths) if (wav_T := self._hear(path)) is not None]
        for _, group in groupby(sorted(waves, key=lambda w: w[:2]), key=lambda w: w[0]):
            same_length = list(group)
            for start in range(0, len(same_length), batch_size):
                batch = same_length[start : start + batch_size]
                for (_, i, _), text in zip(batch, self.spell(np.stack([wav_T for _, _, wav_T in batch]))):
                    heard[i] = text
        return heard

    def _hear(self, path: str | Path) -> np.ndarray | None:
        return None if has_no_samples(path) else prepare(*load_wav(path))

    @torch.no_grad()
    def spell(self, wav_BT: np.ndarray) -> list[str]:
        """Return the text of each row: the best token of each frame, repeats merged, blanks removed."""
        batch, length = wav_BT.shape
        with quiet():
            encoded_BTD, lengths_B = self.network.encode(torch.from_numpy(wav_BT), torch.full((batch,), length))
        best_BT = self.network.ctc.argmax(encoded_BTD)
        return [self._collapse(best_T[:n].tolist()) for best_T, n in zip(best_BT, lengths_B.tolist())]

    def _collapse(self, tokens: list[int]) -> str:
        names = [self.config.token_list[token] for token, _ in groupby(tokens)]
        return " ".join("".join(" " if name == SPACE else name for name in names if name != BLANK).split())


def judge_signature(config: JudgeConfig, fingerprint: str) -> str:
    """Return what makes transcripts of two runs comparable."""
    return f"judge:{config.language}-ctc|sha:{fingerprint[:12]}|decoding:greedy|rate:{config.sample_rate_hz}"


def find_judge(spec: str | Path) -> Path:
    """Return the folder of a judge named by a path or by a name under speechlm/assets."""
    for folder in (Path(spec), ASSETS / str(spec)):
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    shipped = sorted(p.name for p in ASSETS.glob("judge_*"))
    raise ValueError(
        f"judge {str(spec)!r}: found neither a folder with config.json and model.safetensors nor a shipped judge "
        f"({', '.join(shipped) or 'none'}). Train one: python -m speechlm.bin.train_judge"
    )


def read_config(path: Path) -> JudgeConfig:
    """Read and check a judge's config.json."""
    try:
        return fill(JudgeConfig, read_json(path), str(path))
    except ValueError as error:
        raise ValueError(
            f"{path}: not a judge's configuration ({error}). Train one: python -m speechlm.bin.train_judge"
        ) from None


def fingerprint(folder: Path) -> str:
    """Return the sha256 (hex) of a judge's weights and configuration."""
    content = [(folder / name).read_bytes() for name in ("config.json", "model.safetensors")]
    return hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in content)).hexdigest()


def save_judge(folder: str | Path, config: JudgeConfig, state: dict[str, torch.Tensor]) -> None:
    """Write a judge's two files, the weights in half precision; raise if they do not fit the configuration."""
    from safetensors.torch import save

    network = build_network(config)
    network.load_state_dict(state)
    content = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    with atomic_write(Path(folder) / "model.safetensors", "wb") as stream:
        stream.write(save(content))
    with atomic_write(Path(folder) / "config.json") as stream:
        json.dump(config.to_dict(), stream, indent=1)


def _renamed(weights: dict[str, torch.Tensor], expected: set[str]) -> dict[str, torch.Tensor]:
    """Return the weights with the names of this release of ESPnet: before 202611, a subsampling's linear layer stood
    in a sequence with the positional encoding (`embed.out.0`, now `embed.out`).
    """
    old, new = "embed.out.0.", "embed.out."
    names = {name.replace(old, new): name for name in expected}
    return {names.get(name.replace(old, new), name): value for name, value in weights.items()}
