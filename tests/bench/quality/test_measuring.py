"""What the quality bench measures."""

import numpy as np
import pytest

from bench.quality.measuring import Yardstick, against
from bench.quality.prompts import prompts


@pytest.fixture(scope="module")
def yard():
    """Prompts on one background, which the judge is sooner ready for."""
    scenes = [scene for scene in prompts(120) if scene.colour == "gray"]
    return Yardstick(scenes[:12])


class TestMeasuring:
    def test_the_compositions_themselves_are_right_and_at_no_distance(self, yard):
        measured = yard.measure(yard.real, yard.real[:3])
        figures = yard.figures(measured)
        assert measured.right.all() and figures["layout"]["of"] + figures["object"]["of"] == len(yard.scenes)
        assert min(figures["layout"]["of"], figures["object"]["of"]) > 1
        assert figures["distance"]["value"] == figures["diversity"]["value"] == 0
        assert figures["frechet"]["value"] == pytest.approx(0, abs=1e-6)

    def test_worse_pictures_lose(self, yard):
        grey = yard.measure(np.full_like(yard.real, 0.5))
        faint = yard.measure(0.8 * yard.real + 0.1)
        found = against(faint, grey)
        assert found["win_rate"]["share"] == 1 and found["win_rate"]["p"] == pytest.approx(2 / 2 ** len(yard.scenes))
        assert found["distance_change"]["value"] < 0
        assert found["gained"] - found["lost"] == faint.right.sum() - grey.right.sum()
        assert against(grey, grey)["win_rate"]["share"] == 0.5  # ties count half
        assert against(yard.measure(yard.real[:6]), grey)["win_rate"]["of"] == 6  # on the prompts that both have
