"""Tasks as data: what a task is given, what it must produce, and how its output is scored.

A part is `<kind>:<side>`: kind text, speech or prompt (another utterance of the same voice, cut short);
side src or tgt. A new task is a new entry in TASKS. Sequence: <task> <language> condition target.
Source: arXiv 2502.16897, the six CPT tasks and the SFT tasks; s2st is held out of CPT.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """`languages`: "same" if source and target side are one language, "pair" if they are two.

    `plain`: text as the LLM reads it itself, without our special tokens (so that text ability carries over).
    `metric`: what bin/score computes for it; None for tasks that only train.
    """

    name: str
    condition: tuple[str, ...]
    target: str
    languages: str
    metric: str | None = None
    plain: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.condition, self.target)

    @property
    def prompted(self) -> bool:
        return any(part.startswith("prompt") for part in self.condition)

    @property
    def speaks(self) -> bool:
        return self.target.startswith("speech")


TASKS = {
    task.name: task
    for task in (
        Task("lm", (), "text:src", "same", plain=True),
        Task("mt_text", ("text:src",), "text:tgt", "pair", plain=True),
        Task("continuation", (), "speech:src", "same"),
        Task("asr", ("speech:src",), "text:src", "same", metric="wer"),
        Task("tts", ("text:src", "prompt:src"), "speech:src", "same", metric="wer"),
        Task("s2tt", ("speech:src",), "text:tgt", "pair", metric="bleu"),
        Task("t2st", ("text:src", "prompt:tgt"), "speech:tgt", "pair", metric="bleu"),
        Task("s2st", ("speech:src",), "speech:tgt", "pair", metric="bleu"),
    )
}


TASK_NUMBERS = {name: number for number, name in enumerate(TASKS)}


def get_task(name: str) -> Task:
    """Return the task called `name`; ValueError lists those there are."""
    if name not in TASKS:
        raise ValueError(f"task {name!r} is unknown. Expected one of {', '.join(TASKS)}.")
    return TASKS[name]
