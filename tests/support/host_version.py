"""Which host a test runs against, where the oldest one that is supported lacks what the test is about."""

from __future__ import annotations

import pytest

from .comfy_host import Server

FIRST_WITH_NODES_2 = (0, 4)


def version(server: Server) -> tuple[int, ...]:
    said = server.json("/system_stats")["system"]["comfyui_version"]
    return tuple(int(part) for part in said.split(".")[:2])


def newer_only(server: Server, what: str) -> None:
    """Skips a test of what the oldest host that is supported lacks."""
    if version(server) < FIRST_WITH_NODES_2:
        pytest.skip(f"this ComfyUI has no {what}")
