from __future__ import annotations

import pytest

from support import comfy_fixtures


def pytest_configure(config: pytest.Config) -> None:
    """One registration for both folders of tests, so that they share one server."""
    if not config.pluginmanager.is_registered(comfy_fixtures):
        config.pluginmanager.register(comfy_fixtures)
