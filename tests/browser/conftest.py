from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support import comfy_fixtures

if TYPE_CHECKING:
    from playwright import sync_api as playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_configure(config: pytest.Config) -> None:
    """One registration for both folders of tests, so that they share one server."""
    if not config.pluginmanager.is_registered(comfy_fixtures):
        config.pluginmanager.register(comfy_fixtures)


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
