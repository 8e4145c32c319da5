"""Interrupt in the middle of a long step, and of a long decode, on a real server."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from support.comfy_host import Json, Run, Server, changed, pixels

BATCH, STEPS = 160, 2  # a step of the built-in model takes far longer than MOST then, on any CPU
INSIDE = 1.0  # seconds after the end of a step at which the button is pressed
MOST = 2.0  # seconds until the host says that it has ended
SHARE = 0.1  # of a step, where other work makes the machine slow: no part of one takes longer than 4 % of it


class Button:
    """Pressed by a thread of its own some time after the end of step `step`."""

    def __init__(self, server: Server, step: int) -> None:
        self.server, self.step, self.pressed, self.last = server, step, 0.0, time.monotonic()
        self.seconds: list[float] = []  # of the steps that ended

    def progress(self, data: Json) -> None:
        now = time.monotonic()
        if data["max"] == STEPS and len(self.seconds) < data["value"]:
            self.seconds.append(now - self.last)
            self.last = now
            if data["value"] == self.step:
                threading.Timer(INSIDE, self.press).start()

    def press(self) -> None:
        self.pressed = time.monotonic()
        self.server.interrupt()


def interrupted(server: Server, prompt: Json, step: int) -> tuple[Run, Button, float]:
    button = Button(server, step)
    run = server.run(prompt, button.progress)
    return run, button, time.monotonic() - button.pressed


@pytest.mark.parametrize("where, step", [("inside a step", 1), ("inside the decode", STEPS)])
def test_interrupt_ends_it_within_two_seconds_and_the_next_run_is_right(
    server: Server, prompt: Json, where: str, step: int
) -> None:
    short = changed(prompt, {"MGTSample": {"steps": STEPS, "seed": 71}})
    (expected,) = server.images(server.run(short))
    long = changed(short, {"MGTEmptyTokens": {"batch_size": BATCH}, "MGTSample": {"seed": 72 + step}})
    run, button, took = interrupted(server, long, step)
    print(f"{where}: ended {took:.2f} s after the button; steps {button.seconds}")  # noqa: T201
    assert run.outcome == "execution_interrupted", run.details
    assert took <= max(MOST, SHARE * button.seconds[0])
    assert button.seconds[0] > INSIDE + MOST, "the step was too short to tell"
    if step < STEPS:
        assert len(button.seconds) == step
    # Another seed in between, so that the host has nothing to answer from.
    server.run(changed(short, {"MGTSample": {"seed": 70}}))
    (again,) = server.images(server.run(changed(short, {"MGTSample": {"seed": 71}})))
    np.testing.assert_array_equal(pixels(again), pixels(expected))
