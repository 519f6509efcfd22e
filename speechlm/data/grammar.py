"""Sentence pairs from a synchronous grammar: one derivation, read off in several languages.

The grammar is a readable YAML file: a rule is a list of alternatives, an alternative gives one string per language,
and `{name}` in a string stands for another rule, expanded to the SAME alternative in every language:

    sentence:
      - {en: "{number} {color} {thing.p}", es: "{number} {thing.p} {color.p@thing}"}
    thing:
      - {en: house, en.p: houses, es: casa, es.p: casas, es.is: f}
    color:
      - {en: white, es: blanco, es.f: blanca, es.p: blancos, es.p.f: blancas}

`{name.form}` is the key `<lang>.<form>` where the alternative has it, `<lang>` otherwise. `{name@other}` agrees with
another rule: what that one's alternative `is` in this language (key `<lang>.is`, or `is` for all languages) is the
form, or its first letters are;
`{name.form@other}` looks for `<lang>.<form>.<is>`, `<lang>.<form>`, `<lang>.<is>` and `<lang>`, in this order.

`spelling` has, for a language, regular expressions and what replaces them in a finished sentence: "an apple" for "a
apple".
"""

import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from speechlm.data.settings import fill, read_yaml

_REFERENCE = re.compile(r"\{(\w+)(?:\.(\w+))?(?:@(\w+))?\}")


@dataclass(frozen=True)
class Content:
    """What a grammar file holds."""

    languages: list[str]
    rules: dict[str, Any]
    spelling: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("languages is []; expected some, such as [es, en]")


class Grammar:
    """A synchronous grammar: `languages`, and rules of which `sentence` is the start."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        content = fill(Content, read_yaml(path), str(path))
        self.languages, self.rules = content.languages, content.rules
        self.spelling = self._compile(content.spelling)
        self._check()

    def sample(self, rng: random.Random) -> dict[str, str]:
        """Return one sentence as {language: text}."""
        derivation = _Derivation(self.rules, rng)
        return {lang: self._spell(derivation.expand("sentence", lang), lang) for lang in self.languages}

    def sample_distinct(self, count: int, rng: random.Random) -> list[dict[str, str]]:
        """Return `count` sentences of which no two agree in any language; ValueError if the grammar is too small."""
        seen: dict[str, set[str]] = {lang: set() for lang in self.languages}
        sentences: list[dict[str, str]] = []
        for _ in range(50 * count):
            sentence = self.sample(rng)
            if any(text in seen[lang] for lang, text in sentence.items()):
                continue
            for lang, text in sentence.items():
                seen[lang].add(text)
            sentences.append(sentence)
            if len(sentences) == count:
                return sentences
        raise ValueError(
            f"{self.path}: found {len(sentences)} distinct sentences, expected {count}. Add words to it, or ask for"
            " fewer."
        )

    def _spell(self, text: str, lang: str) -> str:
        text = " ".join(text.split())
        for pattern, replacement in self.spelling.get(lang, []):
            text = pattern.sub(replacement, text)
        return text

    def _compile(self, spelling: dict) -> dict[str, list[tuple[re.Pattern, str]]]:
        try:
            return {
                lang: [(re.compile(pattern), new) for pattern, new in rules.items()] for lang, rules in spelling.items()
            }
        except re.error as error:
            what = "Expected a language's regular expressions, each with its replacement"
            raise ValueError(f"{self.path}: spelling: {error}. {what}") from None

    def _check(self) -> None:
        problems = self._check_types()
        if not problems:
            problems = [
                f"rule {name}: {entry} lacks {lang}"
                for name, alternatives in self.rules.items()
                for entry in alternatives
                for lang in self.languages
                if lang not in entry
            ]
            problems += self._check_keys() + self._check_references()
        if problems:
            raise ValueError(f"{self.path}: " + "; ".join(problems))

    def _check_types(self) -> list[str]:
        problems = [] if "sentence" in self.rules else ["no rule is named sentence"]
        for name, alternatives in self.rules.items():
            if not (isinstance(name, str) and isinstance(alternatives, list) and alternatives):
                problems.append(f"rule {name!r}: found no list of alternatives")
            elif not all(
                isinstance(entry, dict) and all(isinstance(text, str) for pair in entry.items() for text in pair)
                for entry in alternatives
            ):
                problems.append(f"rule {name}: an alternative is not one string per language")
        return problems

    def _check_keys(self) -> list[str]:
        """Return the keys of no language, and the rules of which only some alternatives say what they are."""
        problems = []
        for name, alternatives in self.rules.items():
            for entry in alternatives:
                unknown = [key for key in entry if key != "is" and key.partition(".")[0] not in self.languages]
                problems += [f"rule {name}: {entry} has {key}, not of {', '.join(self.languages)}" for key in unknown]
            for lang in self.languages:
                without = [entry for entry in alternatives if not _is(entry, lang)]
                if 0 < len(without) < len(alternatives):
                    problems.append(f"rule {name}: {without[0]} lacks {lang}.is, which others have")
        return problems

    def _check_references(self) -> list[str]:
        """Return the references to no rule, and the rules that stand for themselves (by way of others), hence
        for ever.
        """
        found = {
            name: [m for entry in entries for t in entry.values() for m in _REFERENCE.findall(t)]
            for name, entries in self.rules.items()
        }
        wanted = {
            name: {rule for reference in references for rule in reference[::2] if rule}
            for name, references in found.items()
        }
        unknown = [
            f"rule {name}: no rule is named {r}" for name in wanted for r in sorted(wanted[name] - wanted.keys())
        ]
        used = {name: {rule for rule, _, _ in references} for name, references in found.items()}
        while leaves := [name for name in used if not used[name] & used.keys()]:
            used = {name: references for name, references in used.items() if name not in leaves}
        return unknown or [f"rule {name}: it stands for itself, or for a rule that does" for name in used]


class _Derivation:
    """The alternatives that were chosen for one sentence; a rule is chosen once, when it is first asked for."""

    def __init__(self, rules: dict, rng: random.Random):
        self.rules, self.rng, self.chosen = rules, rng, {}

    def choose(self, name: str) -> dict[str, str]:
        if name not in self.chosen:
            self.chosen[name] = self.rng.choice(self.rules[name])
        return self.chosen[name]

    def expand(self, name: str, lang: str, form: str = "", other: str = "") -> str:
        entry = self.choose(name)
        kind = _is(self.choose(other), lang) if other else ""
        text = next(entry[key] for key in _keys(lang, form, kind) if key in entry)
        if "{" not in text:
            return text
        return _REFERENCE.sub(lambda m: self.expand(m[1], lang, m[2] or "", m[3] or ""), text)


def _is(entry: dict[str, str], lang: str) -> str:
    return entry.get(f"{lang}.is", entry.get("is", ""))


@cache
def _keys(lang: str, form: str, kind: str) -> list[str]:
    """Return where a form is looked for, first to last."""
    stems = [f"{lang}.{form}", lang] if form else [lang]
    return [key for stem in stems for key in (*(f"{stem}.{kind[:n]}" for n in range(len(kind), 0, -1)), stem)]
