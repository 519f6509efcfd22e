"""What a language tag (BCP 47, with - or _: zh-CN, zh_TW, zh-Hant, cmn-Hans) says of how its texts are written. The
only place with such lists.
"""

UNSPACED = frozenset(
    {"zh", "yue", "cmn", "wuu", "lzh", "ja", "th", "lo", "km", "my"}
)  # written without spaces between words
UNSPACED_SCRIPTS = frozenset({"hans", "hant", "hani", "jpan", "hira", "kana", "hrkt", "thai", "laoo", "khmr", "mymr"})
CHINESE = frozenset({"zh", "yue", "cmn", "wuu", "lzh"})
TURKIC = frozenset({"tr", "az"})  # i and ı are two letters: the languages that Unicode's CaseFolding.txt names


def language(tag: str) -> str:
    """Return the language of a tag, without script and region."""
    return _subtags(tag)[0]


def by_character(tag: str) -> bool:
    """Tell whether a language is written without spaces, hence scored by character. A script in the tag decides
    (zh-Latn has spaces).
    """
    first, *others = _subtags(tag)
    script = next((part for part in others if len(part) == 4 and part.isalpha()), "")
    return script in UNSPACED_SCRIPTS if script else first in UNSPACED


def _subtags(tag: str) -> list[str]:
    return tag.lower().replace("_", "-").split("-")
