"""A server and a browser, and the modes in which the front end draws nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.comfy_fixtures import register as pytest_configure  # noqa: F401
from support.comfy_host import Server
from support.front_end import MODES, browser_path, launched, modes_of

if TYPE_CHECKING:
    from playwright import sync_api as playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not browser_path():
        pytest.skip("no Chromium found: install it or set CHROMIUM_PATH")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def modes(server: Server, browser: playwright.Browser) -> tuple[str, ...]:
    """Those of this front end, the one that the pack is to look best in last."""
    return modes_of(server, browser)


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest, modes: tuple[str, ...]) -> str:
    if request.param not in modes:
        pytest.skip("this front end does not offer Nodes 2.0 among its settings")
    return request.param
