"""Held-out text of a recipe as a data set of lm-evaluation-harness: `--metadata '{"manifest":
"dump/<codec>/<set>/manifest.jsonl"}'`.
"""

import datasets

from speechlm.data.manifest import load_manifest


def load(manifest: str, **_other) -> dict[str, datasets.Dataset]:
    """Return {"test": a row per text and language: id, lang, text}; texts of one word have no last word to guess and
    are left out.
    """
    rows = [
        {"id": record.id, "lang": lang, "text": text}
        for record in load_manifest(manifest)
        for lang, text in record.text.items()
        if text.rpartition(" ")[0]
    ]
    if not rows:
        raise ValueError(f"{manifest}: no text of two words or more. Expected the manifest of a set with text")
    return {"test": datasets.Dataset.from_list(rows)}
