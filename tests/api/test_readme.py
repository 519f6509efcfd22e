"""Each line of code of speechlm/README.md runs on the tiny model, as it stands there."""

import contextlib
import re
import shlex
import sys
from pathlib import Path

import httpx
import openai
import pytest
import uvicorn
from serving import running

from speechlm import cli

README = Path(__file__).resolve().parents[2] / "speechlm/README.md"
BLOCKS = re.findall(r"^```(\w+)(?: (\w+))?\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def blocks(language, of=""):
    found = [code for lang, name, code in BLOCKS if (lang, name) == (language, of)]
    assert found
    return found


def commands(of=""):
    return [shlex.split(line, comments=True) for code in blocks("bash", of) for line in code.splitlines()]


def run(monkeypatch, words):
    assert words[0] == "speechlm"
    monkeypatch.setattr(sys, "argv", words)
    cli.main()


def test_it_is_one_screen():
    assert README.read_text(encoding="utf-8").count("\n") < 60


def test_python(made, monkeypatch):
    monkeypatch.chdir(made.root)
    for code in blocks("python"):
        exec(compile(code, str(README), "exec"), {})  # noqa: S102
    assert all((made.root / name).stat().st_size for name in ("translated.wav", "saved/speechlm.json"))


def test_commands(made, monkeypatch, capsys):
    monkeypatch.chdir(made.root)
    for words in commands():
        run(monkeypatch, words)
    assert (made.root / "c.wav").stat().st_size > 1000 and (made.root / "translated/a.wav").is_file()
    assert capsys.readouterr().out.startswith("a.wav\t")


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_what_listens(made, monkeypatch, capsys, name):
    """The commands start what they say; OpenAI's client then finds all that the page shows."""
    monkeypatch.chdir(made.root)
    apps = []
    monkeypatch.setattr(uvicorn, "run", lambda app, host, port, **_: apps.append((app, host, port)))
    [words] = commands(name)
    run(monkeypatch, words)
    [(app, host, port)] = apps
    told = f"http://{host}:{port}"
    assert host == "127.0.0.1" and told in capsys.readouterr().out and told in README.read_text(encoding="utf-8")
    monkeypatch.undo()
    with running(app) as server:
        assert httpx.get(server.url + ("/health" if name == "serve" else "/")).status_code == 200
        if name == "serve":
            [code] = blocks("python", "serve")
            with contextlib.chdir(made.root):
                exec(compile(code.replace(told, server.url), str(README), "exec"), {"openai": openai})  # noqa: S102
            assert (made.root / "d.mp3").stat().st_size > 1000
