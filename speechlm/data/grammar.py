"""Sentence pairs from a synchronous grammar: one derivation, read off in several languages.

The grammar is a readable YAML file: a rule is a list of alternatives, an alternative gives one string per language,
and `{name}` in a string stands for another rule, expanded to the SAME alternative in every language:

    sentence:
      - {en: "the {adj} {thing_f}", es: "la {thing_f} {adj.f}"}
    adj:
      - {en: white, es: blanco, es.f: blanca}      # {adj.f} is blanca in es, {adj} blanco

`{name.form}` picks the key `<lang>.<form>` where the alternative has it, `<lang>` otherwise.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechlm.data.settings import fill, read_yaml

_REFERENCE = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Content:
    """What a grammar file holds."""

    languages: list[str]
    rules: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("languages is []; expected some, such as [es, en]")


class Grammar:
    """A synchronous grammar: `languages`, and rules of which `sentence` is the start."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        content = fill(Content, read_yaml(path), str(path))
        self.languages, self.rules = content.languages, content.rules
        self._check()

    def sample(self, rng: random.Random) -> dict[str, str]:
        """Return one sentence as {language: text}."""
        chosen: dict[str, dict[str, str]] = {}
        return {lang: self._expand("sentence", lang, None, chosen, rng) for lang in self.languages}

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
        raise ValueError(f"{self.path}: found {len(sentences)} distinct sentences, expected {count}. Add words to it, or ask for fewer.")

    def _expand(self, name: str, lang: str, form: str | None, chosen: dict, rng: random.Random) -> str:
        if name not in chosen:
            chosen[name] = rng.choice(self.rules[name])
        entry = chosen[name]
        text = entry.get(f"{lang}.{form}", entry[lang])
        return _REFERENCE.sub(lambda m: self._expand(m[1], lang, m[2], chosen, rng), text)

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
            problems += self._check_references()
        if problems:
            raise ValueError(f"{self.path}: " + "; ".join(problems))

    def _check_types(self) -> list[str]:
        problems = [] if "sentence" in self.rules else ["no rule is named sentence"]
        for name, alternatives in self.rules.items():
            if not (isinstance(name, str) and isinstance(alternatives, list) and alternatives):
                problems.append(f"rule {name!r}: found no list of alternatives")
            elif not all(
                isinstance(entry, dict) and all(isinstance(text, str) for pair in entry.items() for text in pair) for entry in alternatives
            ):
                problems.append(f"rule {name}: an alternative is not one string per language")
        return problems

    def _check_references(self) -> list[str]:
        """Return the references to no rule, and the rules that stand for themselves (by way of others), hence for ever."""
        used = {
            name: {reference for entry in alternatives for text in entry.values() for reference, _ in _REFERENCE.findall(text)}
            for name, alternatives in self.rules.items()
        }
        unknown = [f"rule {name}: no rule is named {r}" for name in used for r in sorted(used[name] - used.keys())]
        while leaves := [name for name in used if not used[name] & used.keys()]:
            used = {name: references for name, references in used.items() if name not in leaves}
        return unknown or [f"rule {name}: it stands for itself, or for a rule that does" for name in used]
