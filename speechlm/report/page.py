"""The page: everything it shows as one JSON text, put with its style and script into one HTML file.

Nothing that a corpus says becomes HTML: the script writes texts as text only, and the page's own policy (CSP) allows no
other script and no network.
"""

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

from speechlm.data.languages import by_character
from speechlm.metrics.rows import NOT_ENDED
from speechlm.metrics.table import CEILINGS, LOWER_IS_BETTER
from speechlm.report.breakdown import by_length, by_speaker, by_voice, length_of
from speechlm.report.experiment import Experiments, Group, Training
from speechlm.report.listen import Corpus, Recordings
from speechlm.tasks import TASKS, TEXT_TASKS

PAGE = Path(__file__).with_name("page")
SCRIPTS = (
    "base.js",
    "players.js",
    "charts.js",
    "results.js",
    "curves.js",
    "errors.js",
    "utterances.js",
    "blind.js",
    "start.js",
)
MOST_UTTERANCES = 3000  # of a test set on the page; figures are always over all


@dataclass(frozen=True)
class Heard:
    """What can be listened to: per group {utterance: {"why", role: clip}}."""

    of_group: list[dict]
    recordings: Recordings


def payload(title: str, found: Experiments, corpus: Corpus, heard: Heard) -> dict:
    """Return all that the page shows, JSON-able and the same for the same experiments."""
    trained = corpus.trained_speakers()
    signatures = list(dict.fromkeys(row.signature for row in found.rows))
    content = {
        "title": title,
        "lower": sorted(LOWER_IS_BETTER),
        "tasks": (
            {name: {"description": task.description, "recognises": task.recognises} for name, task in TASKS.items()}
            | TEXT_TASKS
        ),
        "unspaced": sorted({lang for group in found.groups for _, lang in group.keys if by_character(lang)}),
        "rows": [_row(row, signatures) for row in found.rows],
        "signatures": signatures,
        "curves": [_curves(training) for training in found.trainings],
        "groups": [_group(group, corpus, clips, trained) for group, clips in zip(found.groups, heard.of_group)],
        "voices": (
            {task: by_voice(groups, trained) for task, groups in _by_task(found.groups).items()} if trained else {}
        ),
        "clips": {name: clip.sec for name, clip in sorted(heard.recordings.clips.items())},
        "full": heard.recordings.full,
        "missing": len(heard.recordings.missing),
    }
    return content | {"digest": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}


def _row(row, signatures: list[str]) -> dict:
    return {
        "task": row.task, "set": row.test_set, "metric": row.metric, "model": row.model, "value": round(row.value, 4),
        "n": row.n,
        "low": row.low, "high": row.high, "signature": signatures.index(row.signature) + 1,
        "ceiling": row.model.startswith(CEILINGS),
    }  # fmt: skip


def _curves(training: Training) -> dict:
    """Return {"name", "experiment", "kinds": {train: {part: [[step, value], ...]}}}."""
    kinds: dict[str, dict[str, list]] = {}
    for kind, lines in training.lines.items():
        for line in lines:
            for part, value in line.items():
                if (
                    part not in ("kind", "step", "positions")
                    and isinstance(value, (int, float))
                    and isinstance(line.get("step"), int)
                ):
                    kinds.setdefault(kind, {}).setdefault(part, []).append([line["step"], value])
    return {"name": training.name, "experiment": training.experiment, "kinds": kinds}


def _by_task(groups: list[Group]) -> dict[str, list[Group]]:
    return {
        task: [group for group in groups if group.task == task] for task in sorted({group.task for group in groups})
    }


def _group(group: Group, corpus: Corpus, clips: dict, trained: set[str]) -> dict:
    texts, keys = corpus.texts(group), group.keys
    step = -(-len(keys) // MOST_UTTERANCES)
    shown = keys if step == 1 else sorted({*keys[::step], *clips})
    return {
        "task": group.task,
        "set": group.test_set,
        "metrics": group.metrics,
        "systems": [{"name": system.name, "ceiling": system.ceiling} for system in group.systems],
        "of": len(keys),
        "utterances": [_utterance(group, key, texts.get(key[0]), clips.get(key), trained) for key in shown],
        "speakers": by_speaker(group),
        "lengths": by_length(group),
    }


def _utterance(group: Group, key: tuple, source: str | None, clips: dict | None, trained: set[str]) -> dict:
    lines = [system.lines[key] for system in group.systems]
    first = lines[0]
    said = {"id": key[0], "lang": key[1], "length": length_of(first), "ref": first["ref"]}
    if first["ref_norm"] != first["ref"]:
        said["compared"] = first["ref_norm"]
    if source is not None:
        said["source"] = source
    if speaker := first.get("speaker"):
        said["speaker"] = speaker
        if trained:
            said["known"] = speaker in trained
    return said | {"hyps": [_hypothesis(line, group.metrics) for line in lines]} | ({"clips": clips} if clips else {})


def _hypothesis(line: dict, metrics: list[str]) -> dict:
    made = {"text": line["hyp"], "values": [line.get(metric) for metric in metrics]}
    made |= {NOT_ENDED: True} if line.get(NOT_ENDED) else {}
    return made | ({"compared": line["hyp_norm"]} if line["hyp_norm"] != line["hyp"] else {})


def assets() -> str:
    """Return a digest of the page's own files, so that a report is made again when they change."""
    return hashlib.sha256(
        b"".join((PAGE / name).read_bytes() for name in ("index.html", "style.css", *SCRIPTS))
    ).hexdigest()


def render(content: dict) -> str:
    """Return the page."""
    script = (
        "(function () {\n'use strict';\n"
        + "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
        + "})();\n"
    )
    parts = {
        "title": html.escape(content["title"]),
        "style": (PAGE / "style.css").read_text(encoding="utf-8"),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = (PAGE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
