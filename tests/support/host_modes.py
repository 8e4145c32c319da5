"""What of the two hosts, and of the two ways in which the newer one draws nodes, a browser test is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .comfy_host import Server

CLASSIC, NODES_2 = "classic", "nodes 2.0"
MODES = (CLASSIC, NODES_2)
SETTING = "/settings/Comfy.VueNodes.Enabled"
FIRST_WITH_NODES_2 = (0, 4)


def version(server: Server) -> tuple[int, ...]:
    said = server.json("/system_stats")["system"]["comfyui_version"]
    return tuple(int(part) for part in said.split(".")[:2])


def newer_only(server: Server, what: str) -> None:
    """Skips a test of what the oldest host that is supported lacks."""
    if version(server) < FIRST_WITH_NODES_2:
        pytest.skip(f"this ComfyUI has no {what}")


@contextmanager
def drawn_as(mode: str, server: Server) -> Iterator[None]:
    """The front ends opened meanwhile draw nodes in this way; skips where they cannot."""
    if mode == NODES_2:
        newer_only(server, "Nodes 2.0")
    server.request(SETTING, mode == NODES_2)
    try:
        yield
    finally:
        server.request(SETTING, False)
