"""Which utterances can be listened to, and where their recordings are."""

import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from speechlm.data.audio import AudioError, Span
from speechlm.data.kaldi import read_audio, read_speakers, read_text, side_path
from speechlm.data.recording import split_place
from speechlm.metrics.table import CEILINGS, LOWER_IS_BETTER, Key
from speechlm.report.breakdown import keys_by_badness
from speechlm.report.experiment import Experiments, Group, locate
from speechlm.report.sound import Clip, make_clip
from speechlm.tasks import TASKS

SOURCE, REFERENCE, CODEC = "source", "reference", "codec"  # roles of recordings beside the systems' own
ROLE_OF = dict(zip(CEILINGS, (REFERENCE, CODEC)))


@dataclass(frozen=True)
class Corpus:
    """Kaldi data directories of the test sets: what was spoken and translated; `path` is None if they are not
    available.
    """

    path: Path | None
    src_lang: str | None = None
    train_sets: tuple[str, ...] = ()

    def folder(self, test_set: str) -> Path | None:
        """Return the directory of a test set, whose name in the table may end in a language."""
        names = (test_set, test_set.rpartition(".")[0])
        return (
            next((self.path / name for name in names if name and (self.path / name).is_dir()), None)
            if self.path
            else None
        )

    def side(self, group: Group, lang: str) -> str | None:
        """Return the language of the source: the utterance's, for translation that of the corpus; None for a task that
        is given no speech.
        """
        task = TASKS.get(group.task)
        return (lang if task.languages == "same" else self.src_lang) if task and task.hears else None

    def texts(self, group: Group) -> dict[str, str]:
        """Return {utterance: text of the source} of a translation."""
        folder = self.folder(group.test_set)
        translated = group.task in TASKS and TASKS[group.task].languages == "pair"
        known = folder and translated and self.src_lang and side_path(folder, "text", self.src_lang).is_file()
        return read_text(folder, self.src_lang) if known else {}

    def recordings(self, group: Group) -> dict[Key, Span]:
        """Return the source recordings of a group, as far as there are any."""
        folder, found = self.folder(group.test_set), {}
        for lang in sorted({lang for _, lang in group.keys}) if folder else ():
            side = self.side(group, lang)
            if side and side_path(folder, "wav.scp", side).is_file():
                found |= {(key, lang): span for key, span in read_audio(folder, side).items()}
        return found

    def trained_speakers(self) -> set[str]:
        """Return the speakers of the training sets."""
        return {
            speaker for name in self.train_sets if self.path for speaker in read_speakers(self.path / name).values()
        }


class Recordings:
    """Finds the recordings of utterances and makes clips of them, up to a number of bytes in all."""

    def __init__(self, found: Experiments, corpus: Corpus, folder: Path, max_bytes: int):
        self.folder, self.max_bytes, self.bytes = folder, max_bytes, 0
        self.clips: dict[str, Clip] = {}
        self.missing: list[str] = []
        self.corpus, self.experiment = corpus, found.groups[0].systems[0].experiment if found.groups else Path()
        self.coded = {  # what the codec makes of a recording, whatever the task
            (corpus.folder(group.test_set) or group.test_set, *key): Span(line["wav"])
            for group in found.groups
            for system in group.systems
            if ROLE_OF.get(system.ceiling) == CODEC
            for key, line in system.lines.items()
            if "wav" in line
        }

    def of(self, group: Group, sources: dict[Key, Span], key: Key) -> dict[str, str]:
        """Return {role: clip} of an utterance; the role of a model's recording is its number in the group."""
        spans: dict[str, tuple[Span, Path]] = {}
        if key in sources:
            spans[SOURCE] = (sources[key], self.experiment)
        for number, system in enumerate(group.systems):
            if "wav" in system.lines[key]:
                spans[ROLE_OF.get(system.name, str(number))] = (Span(system.lines[key]["wav"]), system.experiment)
        coded = self.coded.get((self.corpus.folder(group.test_set) or group.test_set, *key))
        if group.task in TASKS and TASKS[group.task].recognises and SOURCE in spans and coded:
            spans[CODEC] = (coded, self.experiment)
        clips = {role: self._clip(*where) for role, where in spans.items()}
        return {role: name for role, name in clips.items() if name}

    @property
    def full(self) -> bool:
        return self.bytes >= self.max_bytes

    def _clip(self, span: Span, experiment: Path) -> str:
        file, offset = split_place(span.path)
        path = locate(file, experiment)
        if path is None:
            self.missing.append(span.path)
            return ""
        try:
            clip = make_clip(
                Span(str(path) if offset is None else f"{path}:{offset}", span.start_sec, span.end_sec), self.folder
            )
        except AudioError as error:
            self.missing.append(str(error))
            return ""
        if clip.name not in self.clips:
            self.clips[clip.name] = clip
            self.bytes += clip.size
        return clip.name


def picks(group: Group, count: int) -> dict[Key, str]:
    """Return {utterance: "chosen" or "worst"}, in the order in which they get audio.

    Chosen are `count` at equal distances by id, whatever their scores; worst are the `count` worst of each model.
    """
    keys = group.keys
    chosen = [keys[i * len(keys) // count] for i in range(min(count, len(keys)))]
    models = [system for system in group.systems if not system.ceiling] or group.systems
    worst = [keys_by_badness(system, group.metrics, LOWER_IS_BETTER.__contains__)[:count] for system in models]
    found: dict[Key, str] = {}
    for one, *others in zip_longest(chosen, *worst):
        for key, why in ((one, "chosen"), *((key, "worst") for key in others)):
            if key is not None:
                found[key] = "worst" if "worst" in (why, found.get(key)) else why
    return found


def listen(groups: list[Group], recordings: Recordings, count: int) -> list[dict[Key, dict]]:
    """Return, per group, {utterance: {"why": chosen or worst, role: clip}}: each group its first, then its second, ...
    until it is full.
    """
    orders = [list(picks(group, count).items()) for group in groups]
    sources = [recordings.corpus.recordings(group) for group in groups]
    found: list[dict[Key, dict]] = [{} for _ in groups]
    ranks, start = max(map(len, orders), default=0), time.monotonic()
    for rank in range(ranks):
        for number, group in enumerate(groups):
            if rank < len(orders[number]) and not recordings.full:
                key, why = orders[number][rank]
                if clips := recordings.of(group, sources[number], key):
                    found[number][key] = {"why": why} | clips
        if rank % 8 == 7:
            left_sec = (time.monotonic() - start) / (rank + 1) * (ranks - rank - 1)
            print(f"report: audio of {rank + 1}/{ranks} utterances of each set, {left_sec:.0f} s left", flush=True)
    return found
