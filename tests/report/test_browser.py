"""The page in a real browser: it opens fast from disk, plays, sorts, filters, obeys the keyboard, and keeps votes."""

import json

import pytest
from report_maker import make_report

from speechlm.metrics.protocol import rules_for
from speechlm.metrics.rows import Row, write_lines, write_rows
from speechlm.metrics.scoring import Output, score_texts

ROWS = "#list tbody tr:not(.detail)"
SCORE = "#list thead button[data-key=score0]"


def scores(page, column=0):
    """Return the scores of the first rows of the list."""
    return [
        float(text) for text in page.locator(f"#list td[data-name$='sft']:nth-child({4 + column})").all_inner_texts()
    ]


def plays(page, audio):
    """Wait until a recording's time has moved."""
    page.wait_for_function("audio => audio.currentTime > 0.15 && !audio.error", arg=audio)
    return True


def test_a_thousand_utterances_open_in_two_seconds(open_page, thousand):
    page = open_page()
    page.wait_for_selector(ROWS)
    seconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    assert seconds < 2, f"{seconds:.1f} s"
    assert "1000 of 1000 utterances" in page.inner_text("#count")
    size = sum(path.stat().st_size for path in thousand.out.rglob("*") if path.is_file())
    assert size < 30e6, f"{size / 1e6:.1f} MB"


def test_players_play_and_only_one_at_a_time(open_page):
    page = open_page()
    players = page.locator("#list figure.clip")
    assert players.locator("figcaption span").all_inner_texts() == [
        "Source",
        "Reference",
        "Codec ceiling",
        "good/sft",
        "bad/sft",
    ]
    before = None
    for i in range(players.count()):
        players.nth(i).locator(".play").click()
        audio = players.nth(i).locator("audio").element_handle()
        assert plays(page, audio) and page.evaluate("audio => audio.duration", audio) > 1
        assert before is None or page.evaluate("audio => audio.paused", before)
        assert page.evaluate(
            "image => image.complete && image.naturalWidth > 50", players.nth(i).locator("img").element_handle()
        )
        before = audio
    players.nth(0).locator(".view").click(position={"x": 100, "y": 20})  # the spectrogram is a place to play from
    assert plays(page, players.nth(0).locator("audio").element_handle())


def test_sorting_and_filtering(open_page, thousand):
    page = open_page()
    head = page.locator("#list thead th", has=page.locator("button[data-key=score0]"))
    assert head.get_attribute("aria-sort") == "ascending" and scores(page) == sorted(
        scores(page)
    )  # BLEU: the worst first
    page.click(SCORE)
    assert head.get_attribute("aria-sort") == "descending" and scores(page)[0] == 100
    page.click("#list thead button[data-key=length]")
    assert page.locator("#list td[data-name=length]").first.inner_text() == "11"
    page.select_option("#filters label:has-text('Speaker') select", "anna")
    assert "500 of 1000" in page.inner_text("#count")
    page.select_option("#filters label:has-text('Show') select", "worst")
    found = page.locator(ROWS).count()
    assert 0 < found <= 16 and page.locator("#list .ear").count() == found
    page.select_option("#filters label:has-text('Show') select", "")
    page.fill("#filters input[type=search]", thousand.maker.keys[7])
    assert page.locator(ROWS).count() == 1
    page.click(ROWS + " button.open")
    assert "<img src=x onerror=alert(2)>" in page.inner_text("#list")  # a transcript is only ever text
    page.select_option("#choice label:has-text('Test set') select", label="s2tt · test")
    assert "1000 of 1000 utterances of s2tt" in page.inner_text("#count")
    page.select_option("#results label:has-text('Task') select", "s2tt")
    assert set(page.locator("#results td[data-name=task]").all_inner_texts()) == {"s2tt"}
    page.click("#results thead button[data-key=value]")
    values = [float(text) for text in page.locator("#results td[data-name=value]").all_inner_texts()]
    assert values == sorted(values, reverse=True) and len(values) == 4


def test_charts_open_and_filter_utterances(open_page):
    page = open_page()
    assert page.locator("#training svg .curve").count() == 4  # train and valid of each experiment
    page.select_option("#training select", "code0")
    assert "1.05" in page.inner_text("#training")
    assert page.locator("#errors svg .point").count() == 2000
    assert {"By speaker", "By length of the reference", "By voice, over all test sets of the task"} <= set(
        page.locator("#errors h3").all_inner_texts()
    )
    page.locator("#errors svg .point").nth(123).click(force=True)
    assert page.locator("#list [aria-expanded=true]").count() == 1
    page.locator("#errors .bars button", has_text="bert").click()
    assert "500 of 1000" in page.inner_text("#count")


def test_keyboard_alone(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the utterances"
    first = page.inner_text("#list [aria-expanded=true]")
    page.keyboard.press("j")
    second = page.inner_text("#list [aria-expanded=true]")
    assert second != first and page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("1")
    audio = page.locator("#list figure.clip audio").first.element_handle()
    assert plays(page, audio)
    page.keyboard.press("Escape")
    assert page.evaluate("audio => audio.paused", audio)
    page.locator("#list figure.clip input[type=range]").first.focus()
    at = page.evaluate("audio => audio.currentTime", audio)
    page.keyboard.press("End")
    assert page.evaluate("audio => audio.currentTime", audio) > at
    page.keyboard.press("k")
    assert page.inner_text("#list [aria-expanded=true]") == first
    page.focus(SCORE)
    page.keyboard.press("Enter")
    assert scores(page)[0] == 100 and page.evaluate("document.activeElement.dataset.key") == "score0"
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_blind_votes_are_saved_and_exported(open_page, tmp_path):
    page = open_page()
    page.focus("[data-play=a]")
    hidden = page.inner_text("#trial") + page.inner_html("#trial .sides")
    assert "sft" not in hidden and "good" not in hidden
    assert page.locator("[data-vote]:disabled").count() == 3  # not before both were heard
    for trial, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown")):
        for letter in "ab":
            page.keyboard.press(letter)
            assert plays(page, page.locator(f"div:has(> [data-play={letter}]) audio").element_handle())
        page.keyboard.press(key)
        page.wait_for_selector(f"[data-trial='{trial + 1}']")
    saved = page.evaluate("Object.entries(localStorage).map(([key, value]) => JSON.parse(value))[0]")
    [test] = saved.values()
    trials = test["trials"]
    assert [trial["vote"] for trial in trials[:4]] == [trials[0]["a"], trials[1]["b"], "none", None]
    assert {trial["a"] for trial in trials} == {"good/sft", "bad/sft"} and all(
        {t["a"], t["b"]} == {"good/sft", "bad/sft"} for t in trials
    )
    page.reload()
    assert page.locator("[data-trial='3']").count() == 1  # goes on after a reload
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "votes.json")
    [exported] = json.loads((tmp_path / "votes.json").read_text())["tests"]
    assert exported["trials"] == trials[:3] and exported["systems"] == ["good/sft", "bad/sft"]
    page.click("text=Take back the last vote")
    assert page.locator("[data-trial='2']").count() == 1
    page.click("text=Show the result so far")
    assert "2 votes" in page.inner_text("#trial") and "Sign test" in page.inner_text("#trial")
    page.click("text=Go on")
    assert page.locator("[data-trial='2']").count() == 1


@pytest.mark.parametrize("width", [360, 390])
def test_phone_has_no_sideways_scrolling(open_page, width):
    page = open_page(viewport={"width": width, "height": 780}, is_mobile=True, has_touch=True)
    page.wait_for_selector("#list figure.clip")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('main *')].map(e =>
      [e.className, e.closest('svg') ? 0 : e.getBoundingClientRect().right])
      .filter(([name, right]) => right > innerWidth + 1)"""
    assert page.evaluate(wide) == []
    page.locator("#list .play").first.tap()
    assert plays(page, page.locator("#list audio").first.element_handle())


CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (node) => { for (; node; node = node.parentElement) { const c = getComputedStyle(node).backgroundColor;
    if (c.startsWith('rgb') && (channels(c)[3] ?? 1) > 0.9) return channels(c); } return [255, 255, 255]; };
  const some = ['h1', '.lead', '.note', '.tile .set', '#results a', 'del', 'ins', '.open', 'nav a', 'td .badge',
    '.number', '.sort', '.time'];
  return some.map((where) => {
    const node = document.querySelector(where);
    const [a, b] = [light(channels(getComputedStyle(node).color)), light(back(node))];
    return [where, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_in_light_and_dark(open_page, scheme):
    page = open_page(color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []  # WCAG 2.2, 1.4.3: 4.5 to 1 for text
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor").startswith("rgb(1")
    assert dark == (scheme == "dark")


def test_headings_and_names_for_screen_readers(open_page):
    page = open_page()
    levels = page.evaluate("[...document.querySelectorAll('main h1, main h2, main h3')].map(e => Number(e.tagName[1]))")
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    unnamed = """[...document.querySelectorAll('button, input, select, img, a')].filter(e =>
      !(e.getAttribute('aria-label') || e.alt || e.textContent.trim() ||
        e.labels && e.labels.length)).map(e => e.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_pages_without_audio_with_long_names_and_characters(chromium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rules, rows, lines = rules_for(["mini"], "asr"), [], []
    for lang, hyp, ref in (("zh", "今天天气很好", "今天的天气好"), ("en", "x" * 300, "y" * 300)):
        scores, made = score_texts(rules, Output("asr", lang, {"a": hyp}, {"a": ref}))
        lines += made
        rows += [score.to_row(rules, "a_very_long_name_" * 8, "asr", f"test.{lang}", "") for score in scores]
    write_lines("exp/asr/utterances.jsonl", lines)
    write_rows("exp/asr/score.json", rows)
    write_rows("lm/score.json", [Row("llm", "lm", "test.en", "ppl", 2.5, 10, "signature")])
    complaints = []
    for exp in ("exp", "lm"):
        make_report(exp)
        page = chromium.new_page(viewport={"width": 360, "height": 780})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / exp / "report/index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        if exp == "exp":
            assert page.locator("#list tr:has-text('今') del, #list tr:has-text('今') ins").all_inner_texts() == [
                "的",
                "很",
            ]
        page.close()
    assert not complaints


RIGHT_TO_LEFT = {
    "ar": ("الولد يجد مصباحا أحمر في حديقتي", "الولد يبيع مصباحا أحمر في lamp حديقتي", "يجد", "يبيع"),
    "he": ("הילד מוצא מנורה אדומה בגינה", "הילד מוכר מנורה אדומה בגינה", "מוצא", "מוכר"),
}
WORDS_FROM_RIGHT = """line => {
  const found = [];
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const word of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      found.push({ text: word[0], right: range.getBoundingClientRect().right });
    }
  return found;
}"""


def test_text_from_right_to_left_stands_so_in_word_differences_too(chromium, tmp_path):
    """The first word is rightmost, then what was lost, then what came instead; the line begins at the right edge."""
    rules = rules_for(["mini"], "asr")
    for lang, (ref, hyp, *_) in RIGHT_TO_LEFT.items():
        scores_, lines = score_texts(rules, Output("asr", lang, {"u1": hyp}, {"u1": ref}))
        write_lines(tmp_path / f"exp/{lang}/utterances.jsonl", lines)
        write_rows(
            tmp_path / f"exp/{lang}/score.json",
            [score.to_row(rules, "sft", "asr", f"test_{lang}", "") for score in scores_],
        )
    make_report(tmp_path / "exp", "--out", tmp_path / "report")
    page = chromium.new_page()
    page.goto((tmp_path / "report/index.html").as_uri())
    for number, (lang, (ref, _, lost, got)) in enumerate(RIGHT_TO_LEFT.items()):
        page.select_option("#choice select >> nth=0", index=number)
        if page.locator("#list [aria-expanded=false]").count():
            page.click("#list [aria-expanded=false]")
        lines = page.locator(f"#list .text-of[lang={lang}]")
        assert lines.count() >= 3  # the row's difference; reference and difference of the opened utterance
        for line in lines.all():
            assert line.evaluate("line => getComputedStyle(line).direction") == "rtl"
            boxes = line.evaluate(WORDS_FROM_RIGHT)
            rights = [box["right"] for box in boxes[:3]]
            assert rights == sorted(rights, reverse=True) and boxes[0]["text"].startswith(ref.split()[0])
            assert boxes[0]["right"] == pytest.approx(line.bounding_box()["x"] + line.bounding_box()["width"], abs=1)
        difference = page.locator("#list .words").first
        assert (
            difference.locator("del").first.inner_text() == lost and difference.locator("ins").first.inner_text() == got
        )
        page.screenshot(path=tmp_path / f"{lang}.png", full_page=True)
    page.close()
