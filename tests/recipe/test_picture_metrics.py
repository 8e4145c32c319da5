"""Sharpness and distances between sets of pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe.data.scenes import Renderer, evaluation_scenes
from recipe.data.subjects import load_sprites, load_subjects
from recipe.judge.picture_metrics import covered, frechet, jackknife, reduce, sharpness
from recipe.judge.scores import compare


def edge(width: float, low: float = 0.1, high: float = 0.9) -> torch.Tensor:
    """[1, 32, 32, 3]: a ramp of `width` pixels from dark to bright."""
    across = ((torch.arange(32.0) - 15.5) / width + 0.5).clamp(0, 1) * (high - low) + low
    return across.view(1, 1, 32, 1).expand(1, 32, 32, 3)


def test_sharpness_is_the_share_of_an_edge_that_one_step_takes():
    assert sharpness(edge(0.5)).item() == pytest.approx(1, abs=1e-4)
    assert sharpness(edge(4)).item() == pytest.approx(0.25, abs=0.04)
    assert sharpness(torch.full((1, 32, 32, 3), 0.5)).item() == 0


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 6), st.floats(0, 0.3), st.floats(0.6, 1), st.booleans())
def test_sharpness_heeds_neither_contrast_nor_direction(width, low, high, turned):
    whole, other = edge(width, 0, 1), edge(width, low, high)
    other = other.transpose(1, 2) if turned else other
    assert 0 < sharpness(other).item() <= 1 + 1e-5
    assert sharpness(other).item() == pytest.approx(sharpness(whole).item(), abs=0.1)


def test_frechet_distance_of_known_gaussians():
    """Between diagonal Gaussians: squared shift of the means plus squared differences of the deviations."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(40_000, 3, generator=generator, dtype=torch.float64)
    scale, shift = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([1.0, 0.0, -2.0]).double()
    second = torch.randn(40_000, 3, generator=generator, dtype=torch.float64) * scale + shift
    assert frechet(first, second) == pytest.approx(5 + 1 + 0.25, rel=0.02)
    assert frechet(first, first) == pytest.approx(0, abs=1e-6)


def test_coverage_counts_what_lies_near_the_other_set():
    generator = torch.Generator().manual_seed(0)
    set_, same = torch.randn(2, 200, 2, generator=generator)
    far = same + 50
    assert covered(same, set_).float().mean() > 0.9
    assert not covered(far, set_).any()
    half = torch.cat([same[:100], far[100:]])  # half of it invented, and nothing of the other set left out
    assert 0.4 < covered(half, set_).float().mean() < 0.51


def test_jackknife_agrees_with_the_error_of_a_mean():
    first = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = jackknife(lambda a, b: float((a - b).mean()), first, torch.zeros_like(first))
    assert (high - low) / 2 == pytest.approx(1.96 * float(first.std()) / 20, rel=0.4)
    assert low < float(first.mean()) < high


def test_pictures_against_worse_ones():
    renderer = Renderer(load_sprites())
    scenes = evaluation_scenes(load_subjects(), 60)
    real = np.stack([renderer.render(scene) for scene in scenes])
    blurred = F.avg_pool2d(torch.from_numpy(real).permute(0, 3, 1, 2), 9, 1, 4, count_include_pad=False)
    worse = blurred.permute(0, 2, 3, 1).numpy()
    same, less = compare(real, real), compare(worse, real)
    assert same["frechet"]["value"] == pytest.approx(0, abs=1e-5) and same["precision"]["share"] == 1
    assert less["frechet"]["value"] > 0.1
    assert less["sharpness"]["interval95"][1] < same["sharpness"]["interval95"][0]
    noise = compare(np.random.default_rng(0).random(real.shape, np.float32), real)
    assert noise["recall"]["share"] < 0.1
    assert reduce(torch.randn(70, 80), torch.randn(9, 80))[1].shape == (9, 64)
