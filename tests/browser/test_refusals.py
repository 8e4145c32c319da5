"""What people see of MGT Load Model's choices, and of a refusal, in the front end."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.comfy_host import Json, Server
from support.foreign import FOREIGN
from support.front_end import open_front_end

if TYPE_CHECKING:
    from playwright import sync_api as playwright

XL = "sd_xl_base_1.0.safetensors"
LISTED = f"{XL} — not an MGT: Stable Diffusion XL"
TOLD = f"'{XL}' is Stable Diffusion XL, which is no MGT: it belongs in models/checkpoints"
QUEUE = "() => { app.queuePrompt(0, 1) }"
ANSWERS = 30_000  # ms


@pytest.fixture
def checkpoint(server: Server) -> Iterator[None]:
    file = server.base / "models" / "mgt" / XL
    FOREIGN[XL][0](file)
    yield
    file.unlink()


def test_a_refusal_is_read_where_the_front_end_shows_errors(
    server: Server, browser: playwright.Browser, workflow: Json, checkpoint: None
) -> None:
    opened = open_front_end(server, browser)
    page = opened.page
    graph = copy.deepcopy(workflow)
    (loader,) = [node for node in graph["nodes"] if node["type"] == "MGTLoadModel"]
    loader["widgets_values"][0] = LISTED
    opened.load(graph, "text_to_image")
    page.evaluate(QUEUE)
    told, more = page.get_by_text(TOLD), page.get_by_role("button", name="View details")
    told.or_(more).first.wait_for(timeout=ANSWERS)
    if more.count():  # newer front ends: a list of errors, the sentence behind a button
        more.first.click()
        page.get_by_role("button", name=re.compile("^Info.*MGT Load Model")).first.click(timeout=ANSWERS)
    told.first.wait_for(timeout=ANSWERS)
