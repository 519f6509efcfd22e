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
from pathlib import Path

import yaml

_REFERENCE = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


class Grammar:
    """A synchronous grammar: `languages`, and rules of which `sentence` is the start."""

    def __init__(self, path: str | Path):
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        self.path = Path(path)
        self.languages: list[str] = content["languages"]
        self.rules: dict[str, list[dict[str, str]]] = content["rules"]
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
        problems = []
        for name, alternatives in self.rules.items():
            for entry in alternatives:
                problems += [f"rule {name}: {entry} lacks {lang}" for lang in self.languages if lang not in entry]
                for reference, _ in _REFERENCE.findall(" ".join(str(text) for text in entry.values())):
                    if reference not in self.rules:
                        problems.append(f"rule {name}: no rule is named {reference}")
        if "sentence" not in self.rules:
            problems.append("no rule is named sentence")
        if problems:
            raise ValueError(f"{self.path}: " + "; ".join(problems))
