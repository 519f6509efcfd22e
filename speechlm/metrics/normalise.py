"""Text normalisers, by the name that protocols and signatures carry: `NORMALISERS[name](text, lang)`.

Whisper's come from the package whisper-normalizer, which holds its table of British and American spellings.
"""

import re
import unicodedata
from functools import cache
from typing import Callable

from speechlm.data.languages import TURKIC, by_character, language

# Unicode's Default_Ignorable_Code_Point: soft hyphen, zero width, joiners, direction marks, variation selectors
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def normalise(text: str, lang: str) -> str:
    """Return `text` as Unicode compares it (NFKC_Casefold), without punctuation and symbols, single-spaced (zh, ja, th,
    ...: without spaces).

    Case is folded as Unicode does (ß is ss), in Turkish and Azerbaijani with their two letters i and ı; code points
    that Unicode ignores (soft hyphen, joiners, direction marks) go. An apostrophe within a word stays (don't); an
    accent that stands alone (´) is a symbol. All else stays: Arabic vowel signs and tatweel, accents on letters.
    """
    text = _fold(_IGNORABLE.sub("", text), lang).replace("’", "'")
    kept = ""
    for i, character in enumerate(text):
        kept += character if _is_word_character(text, i, kept) else " "
    return ("" if by_character(lang) else " ").join(kept.split())


def _fold(text: str, lang: str) -> str:
    """Return NFKC, case-folded; stand-alone accents, which NFKC splits into a space and a mark, become spaces."""
    text = "".join(" " if _stands_alone(character) else character for character in text)
    text = unicodedata.normalize("NFKC", text)
    if language(lang) in TURKIC:
        text = text.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFKC", text.casefold())


def _stands_alone(character: str) -> bool:
    parts = unicodedata.normalize("NFKC", character)
    return len(parts) > 1 and parts[0] == " " and unicodedata.category(parts[1])[0] == "M"


def _is_word_character(text: str, i: int, before: str) -> bool:
    """Is it a letter, a number, a mark on one of these, or an apostrophe within a word? `before`: what was kept of the
    text before it.
    """
    if text[i] == "'":
        return text[i - 1 : i].isalnum() and text[i + 1 : i + 2].isalnum()
    category = unicodedata.category(text[i])[0]
    return category in "LN" or (category == "M" and before[-1:] not in ("", " "))


def unchanged(text: str, lang: str) -> str:
    """Return the text as it stands."""
    return text


def lower(text: str, lang: str) -> str:
    """Return what fairseq's ASR-BLEU does to a transcript (examples/speech_to_speech/asr_bleu): lower case, nothing
    else.
    """
    return text.strip().lower()


def already_lower(text: str, lang: str) -> str:
    """Return the text as it stands; raise ValueError if a capital shows that it is not CVSS's normalised text."""
    if text != text.lower():
        raise ValueError(
            f"the reference {text[:60]!r} has capitals, which lower-cased transcripts can never match. This protocol"
            " scores against CVSS's normalised texts: give --ref a folder with those, or choose another --protocol"
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
        raise ValueError(
            f"the normaliser whisper_english is for English, and the text is in {lang!r}. Use one with whisper_basic."
        )
    return _whisper("english")(text)


def whisper_basic(text: str, lang: str) -> str:
    """Return Whisper's normalisation for other languages; without spaces where there are none between words: CER counts
    characters only.
    """
    return ("" if by_character(lang) else " ").join(
        _whisper("letters" if by_character(lang) else "basic")(text).split()
    )


NORMALISERS: dict[str, Callable[[str, str], str]] = {
    "lower-nopunct-v2": normalise,
    "none": unchanged,
    "lower": lower,
    "already_lower": already_lower,
    "whisper_english": whisper_english,
    "whisper_basic": whisper_basic,
}
