"""A browser, for all tests that look at a page."""

import os
import shutil

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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
