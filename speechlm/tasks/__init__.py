"""Tasks as data: what a task is given, what it must produce, how its output is scored, and what it is called. The only
list of tasks.

A part is `<kind>:<side>`: kind text, speech or prompt (another utterance of the same voice, cut short);
side src or tgt. A new task is a new entry in TASKS (at its end: the order of tokens follows it): training, decoding,
scoring, ceiling, driver and report take it from there. Sequence: <task> <language> condition target. Source: arXiv
2502.16897, the six CPT tasks and the SFT tasks; s2st is held out of CPT.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

TEXT_TASKS = {
    "lm": {"description": "Language modelling"},
    "lm_eval": {"description": "Text tasks"},
}  # of the table of results: text ability


@dataclass(frozen=True)
class Task:
    """`languages`: "same" if source and target side are one language, "pair" if they are two.

    `plain`: text as the LLM reads it itself, without our special tokens (so that text ability carries over).
    `metric`: the figure that it is judged by, wer or bleu: tasks that share it are scored alike by protocols. None for
    tasks that are only trained. `description`: its name for people.
    """

    name: str
    condition: tuple[str, ...]
    target: str
    languages: str
    metric: str | None = None
    plain: bool = False
    description: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.condition, self.target)

    @property
    def prompted(self) -> bool:
        """Is it given a voice? If so, it is tested on what the set's `prompts` lists, if there is such a file."""
        return any(part.startswith("prompt") for part in self.condition)

    @property
    def speaks(self) -> bool:
        return self.target.startswith("speech")

    @property
    def hears(self) -> bool:
        return "speech:src" in self.condition

    @property
    def recognises(self) -> bool:
        """Does it transcribe its input? If so, all its languages are also scored together."""
        return self.hears and not self.speaks and self.languages == "same"

    def tested_in(self, langs: list[str], src_lang: str, tgt_lang: str) -> list[str]:
        """Return the source languages that a recipe tests it in: recognition in all, speech in the one that the judge
        understands.
        """
        if self.languages == "pair":
            return [src_lang]
        return langs if self.recognises else [tgt_lang]


TASKS = {
    task.name: task
    for task in (
        Task("lm", (), "text:src", "same", plain=True, description="Language modelling"),
        Task("mt_text", ("text:src",), "text:tgt", "pair", plain=True, description="Text translation"),
        Task("continuation", (), "speech:src", "same", description="Speech continuation"),
        Task("asr", ("speech:src",), "text:src", "same", "wer", description="Speech recognition"),
        Task("tts", ("text:src", "prompt:src"), "speech:src", "same", "wer", description="Speech synthesis"),
        Task("s2tt", ("speech:src",), "text:tgt", "pair", "bleu", description="Speech-to-text translation"),
        Task(
            "t2st", ("text:src", "prompt:tgt"), "speech:tgt", "pair", "bleu", description="Text-to-speech translation"
        ),
        Task("s2st", ("speech:src",), "speech:tgt", "pair", "bleu", description="Speech-to-speech translation"),
    )
}


TASK_NUMBERS = {name: number for number, name in enumerate(TASKS)}
TOKEN_TASKS = [name for name, task in TASKS.items() if not task.plain]  # that get a token, if none are named
SCORED = tuple(name for name, task in TASKS.items() if task.metric)


def get_task(name: str) -> Task:
    """Return the task called `name`; ValueError lists those there are."""
    if name not in TASKS:
        raise ValueError(f"task {name!r} is unknown. Expected one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_tasks(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise ValueError naming `where` they stand if some tasks are not among those `known`."""
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{where}: found {', '.join(map(repr, unknown))}; expected some of {', '.join(known)}")
