"""For all tests: the long ones first, and a browser for those that look at a page."""

import os
import shutil
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONG = """shell/test_arms.py bin/test_train.py data/test_fuzz.py report/test_browser.py corpora/test_tutorial.py
data/test_mini_cvss.py corpora/test_adding_a_corpus.py train/test_sharding.py train/test_elastic.py bin/test_fit.py
corpora/test_mls.py codecs/test_extract.py bin/test_bad_data.py codecs/test_pretrained.py
corpora/test_mini_recipes.py""".split()
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end no process is left alone with one of them."""
    places = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def find_browser() -> str | None:
    """Return $SPEECHLM_BROWSER or the first Chromium in the PATH."""
    return os.environ.get("SPEECHLM_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium. Without one the tests are skipped with a message; with SPEECHLM_NEED_BROWSER (CI)
    they fail.
    """
    path = find_browser()
    if not path:
        told = (
            "no Chromium: the report is not tested in a browser. Install one (Debian: apt-get install chromium) or set"
            " SPEECHLM_BROWSER"
        )
        (pytest.fail if os.environ.get("SPEECHLM_NEED_BROWSER") else pytest.skip)(told)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
