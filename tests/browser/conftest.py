"""A server and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.comfy_fixtures import register as pytest_configure  # noqa: F401

if TYPE_CHECKING:
    from playwright import sync_api as playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    driver_of = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    path = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        pytest.skip("no Chromium found: install it or set CHROMIUM_PATH")
    with driver_of() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
