"""Text normalisers, by the name that protocols and signatures carry: `NORMALISERS[name](text, lang)`.

Whisper's come from the package whisper-normalizer, which holds its table of British and American spellings.
"""

import unicodedata
from functools import cache
from typing import Callable

NO_SPACES = ("zh", "ja")  # languages written without spaces: scored by character


def by_character(lang: str) -> bool:
    """Tell whether recognition in a language is scored by CER instead of WER."""
    return lang in NO_SPACES


def normalise(text: str, lang: str) -> str:
    """Return `text` in NFKC, lower case, without punctuation and symbols, single-spaced (zh: without spaces).

    An apostrophe within a word stays (don't).
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = "".join(c if _is_word_character(text, i) else " " for i, c in enumerate(text))
    return ("" if by_character(lang) else " ").join(kept.split())


def _is_word_character(text: str, i: int) -> bool:
    if text[i] == "'":
        return text[i - 1 : i].isalnum() and text[i + 1 : i + 2].isalnum()
    return unicodedata.category(text[i])[0] in "LMN"


def unchanged(text: str, lang: str) -> str:
    """Return the text as it stands."""
    return text


def lower(text: str, lang: str) -> str:
    """Return what fairseq's ASR-BLEU does to a transcript (examples/speech_to_speech/asr_bleu): lower case, nothing else."""
    return text.strip().lower()


def already_lower(text: str, lang: str) -> str:
    """Return the text as it stands; raise ValueError if a capital shows that it is not CVSS's normalised text."""
    if text != text.lower():
        raise ValueError(
            f"the reference {text[:60]!r} has capitals, which lower-cased transcripts can never match. This protocol scores "
            "against CVSS's normalised texts: give --ref a folder with those, or choose another --protocol"
        )
    return text


@cache
def _whisper(kind: str) -> Callable[[str], str]:
    if kind == "english":
        from whisper_normalizer.english import EnglishTextNormalizer

        return EnglishTextNormalizer()
    from whisper_normalizer.basic import BasicTextNormalizer

    return BasicTextNormalizer(split_letters=kind == "letters")


def whisper_english(text: str, lang: str) -> str:
    """Return Whisper's English normalisation: spellings, contractions, numbers; fillers and bracketed text removed."""
    if lang != "en":
        raise ValueError(f"the normaliser whisper_english is for English, and the text is in {lang!r}. Use one with whisper_basic.")
    return _whisper("english")(text)


def whisper_basic(text: str, lang: str) -> str:
    """Return Whisper's normalisation for other languages; zh and ja are split into characters, as Whisper's paper does."""
    return " ".join(_whisper("letters" if by_character(lang) else "basic")(text).split())


NORMALISERS: dict[str, Callable[[str, str], str]] = {
    "lower-nopunct-v1": normalise,
    "none": unchanged,
    "lower": lower,
    "already_lower": already_lower,
    "whisper_english": whisper_english,
    "whisper_basic": whisper_basic,
}
