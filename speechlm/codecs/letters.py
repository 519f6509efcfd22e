"""Codes that must tell what is said: letters are read from them during training (CTC, Graves et al. 2006).

A codec that is trained to sound alike spends its first codes on loudness and voice. Read letters from the first codes,
and these say what is spoken, as the supervised tokens of CosyVoice do (Du et al. 2024, arXiv 2407.05407, section 2.1):
what a language model has to predict follows from the text, and what a listener needs comes through. The reader is only
there for the training. Shapes: B batch, T frames, D latent dimension, L letters, S = SPLITS x T steps, A alphabet.
"""

import string
import unicodedata

import torch
import torch.nn.functional as F
from torch import nn

from speechlm.codecs.vocos import LATENT_SCALE, ConvNeXtBlock

ALPHABET = "_ " + string.ascii_lowercase  # _ is CTC's blank
SPLITS = 4  # steps of a frame: 50 a second at 12.5 frames
CHANNELS, HIDDEN, KERNEL, LAYERS = 256, 512, 5, 3


def spell(text: str) -> list[int]:
    """Return the letters' numbers: Latin ones without their accents, and one space between words; nothing of a text
    with digits, which does not say how they are spoken.
    """
    if any(map(str.isdigit, text)):
        return []
    plain = unicodedata.normalize("NFD", text.lower())
    words = "".join(c if c in string.ascii_lowercase else " " if c.isspace() or c in "-'" else "" for c in plain)
    return [ALPHABET.index(letter) for letter in " ".join(words.split())]


class Reader(nn.Module):
    """Letters from latents."""

    def __init__(self, dimension: int):
        super().__init__()
        blocks = (ConvNeXtBlock(CHANNELS, HIDDEN, KERNEL, LAYERS) for _ in range(LAYERS))
        self.body = nn.Sequential(nn.Linear(dimension, CHANNELS), *blocks)
        self.split = nn.Linear(CHANNELS, SPLITS * CHANNELS)
        self.head = nn.Sequential(
            ConvNeXtBlock(CHANNELS, HIDDEN, KERNEL, 1), nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, len(ALPHABET))
        )

    def forward(self, latents_BDT: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities_BSA."""
        hidden_BTC = self.body(latents_BDT.transpose(1, 2) / LATENT_SCALE)
        return self.head(self.split(hidden_BTC).unflatten(2, (SPLITS, CHANNELS)).flatten(1, 2)).log_softmax(-1)


def reading_loss(reader: Reader, latents_BDT: torch.Tensor, letters: list[list[int]]) -> torch.Tensor:
    """Return the CTC loss, nats a letter; what has no letters, or more than steps, does not count."""
    chosen = [row for row, letters_L in enumerate(letters) if letters_L]
    if not chosen:
        return latents_BDT.new_zeros(())
    logs_BSA = reader(latents_BDT[chosen])
    targets = torch.tensor([number for row in chosen for number in letters[row]], device=logs_BSA.device)
    lengths = torch.tensor([len(letters[row]) for row in chosen])
    steps = torch.full_like(lengths, logs_BSA.shape[1])
    loss = F.ctc_loss(logs_BSA.transpose(0, 1), targets, steps, lengths, reduction="sum", zero_infinity=True)
    return loss / lengths.sum()
