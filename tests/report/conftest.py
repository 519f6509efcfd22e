"""A reported pair of experiments, and a browser to look at their page."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from speechlm.metrics.rows import write_lines

sys.path.insert(0, str(Path(__file__).parent))
from report_maker import EVIL, Maker, make_report  # noqa: E402


@pytest.fixture(scope="session")
def thousand(tmp_path_factory):
    """Two experiments on 1,000 utterances, reported side by side; one transcript is an attack."""
    maker = Maker(tmp_path_factory.mktemp("recipe"), 1000, sec=4.0)
    worst = maker.keys[7]
    maker.refs[worst] = "a lamp"
    experiments = [maker.experiment("exp/good", 0.1), maker.experiment("exp/bad", 0.4)]
    for experiment in experiments:
        path = experiment / "sft_s2st/score/utterances.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if line["id"] == worst:
                line.update(hyp=EVIL, hyp_norm=EVIL)
        write_lines(path, lines)
    out = maker.root / "exp/report"
    make_report(*experiments, "--out", out, "--data", maker.root / "data", "--src_lang", "es", "--train_sets", "train")
    return SimpleNamespace(out=out, url=(out / "index.html").as_uri(), maker=maker, attacked=worst)


@pytest.fixture
def open_page(chromium, thousand):
    """Open the page of a thousand utterances; at the end, nothing may have been complained of or asked of a network."""
    contexts, complaints, requests = [], [], []

    def opened(**settings):
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(thousand.url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert not [url for url in requests if not url.startswith(("file:", "blob:", "data:"))]
