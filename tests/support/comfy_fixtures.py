"""One server for the whole test session, and the workflow that most tests queue on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from run_workflow import to_api

from . import workflow_files
from .comfy_host import Host, HostMissingError, HostStartError, Json, Server, make_base, running_server


def register(config: pytest.Config) -> None:
    """Once, whichever folders of tests ask for it, so that they share the server."""
    plugin = sys.modules[__name__]
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin)


@pytest.fixture(scope="session")
def host() -> Host:
    try:
        return Host.find()
    except HostMissingError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = make_base(tmp_path_factory.mktemp("comfyui"))
    try:
        with running_server(host, base) as server:
            yield server
    except HostStartError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def workflow() -> Json:
    """The text to image graph as people share it (UI format)."""
    return json.loads(workflow_files.workflow("text_to_image").read_text())


@pytest.fixture(scope="session")
def prompt(server: Server, workflow: Json) -> Json:
    """The same graph in API format."""
    return to_api(workflow, server.object_info())
