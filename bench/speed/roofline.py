"""How long the arithmetic of a guided forward takes at least: its operations over the rate that this machine
reaches on the same matrix products, one by one, in the same dtype."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..hardware import synchronize

aten = torch.ops.aten
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Roofline:
    """flops: of one evaluation. bound_seconds: they take at least that long. rate: of the products, FLOP/s.
    products: (kind, shapes, how often), the dearest first."""

    flops: int
    bound_seconds: float
    products: list[dict]

    @property
    def rate(self) -> float:
        return self.flops / self.bound_seconds


class Products:
    """Counts the matrix products of what runs inside `counting()`."""

    def __init__(self):
        self.counts: Counter[tuple[str, Shape, int]] = Counter()

    def note(self, kind: str, shape: Shape, flops: int) -> int:
        self.counts[kind, shape, flops] += 1
        return flops

    def product(self, a: Shape, b: Shape) -> int:
        """[..., m, k] @ [..., k, n]"""
        shape = (prod(a[:-2]), a[-2], a[-1], b[-1])
        return self.note("product", shape, 2 * prod(shape))

    def attention(self, q: Shape, k: Shape, v: Shape) -> int:
        return self.note("attention", (*q, k[-2]), sdpa_flop_count(q, k, v))

    def counting(self) -> FlopCounterMode:
        plain = dict.fromkeys((aten.mm, aten.bmm), lambda a, b, *_, **__: self.product(a, b))
        with_bias = aten.addmm, aten.baddbmm, aten._addmm_activation
        biased = dict.fromkeys(with_bias, lambda c, a, b, *_, **__: self.product(a, b))
        attention = dict.fromkeys(
            (
                aten._scaled_dot_product_flash_attention_for_cpu,
                aten._scaled_dot_product_flash_attention,
                aten._scaled_dot_product_efficient_attention,
                aten._scaled_dot_product_cudnn_attention,
            ),
            lambda q, k, v, *_, **__: self.attention(q, k, v),
        )
        return FlopCounterMode(display=False, custom_mapping=plain | biased | attention)


def measure_roofline(evaluate: Callable[[], object], dtype: torch.dtype, device: torch.device) -> Roofline:
    """The bound of `evaluate`, which is run once under the counter."""
    products = Products()
    with products.counting() as counter:
        evaluate()
    timed, flops = [], counter.get_total_flops()
    for (kind, shape, each), count in products.counts.items():
        seconds = best_time(INPUTS[kind](shape, dtype, device), device)
        timed.append({"kind": kind, "shape": shape, "count": count, "flops": count * each, "seconds": count * seconds})
    timed.sort(key=lambda entry: -entry["flops"])
    return Roofline(flops, sum(entry["seconds"] for entry in timed), timed)


def linear(shape: Shape, dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    batch, m, k, n = shape
    a = torch.randn(batch, m, k, device=device).to(dtype)
    b = torch.randn(batch, n, k, device=device).to(dtype)
    return (lambda: F.linear(a[0], b[0])) if batch == 1 else (lambda: a @ b.mT)


def attention(shape: Shape, dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    *lead, rows, width, keys = shape
    q = torch.randn(*lead, rows, width, device=device).to(dtype)
    k = torch.randn(*lead, keys, width, device=device).to(dtype)
    return lambda: F.scaled_dot_product_attention(q, k, k)


INPUTS = {"product": linear, "attention": attention}


def best_time(work: Callable[[], Tensor], device: torch.device, repeats: int = 3) -> float:
    """Shortest of a few runs, each at least a millisecond long."""
    work()
    times, inner = [], 1
    while len(times) < repeats:
        synchronize(device)
        started = time.perf_counter()
        for _ in range(inner):
            work()
        synchronize(device)
        spent = time.perf_counter() - started
        if spent < 1e-3 and inner < 1000:
            inner *= 4
        else:
            times.append(spent / inner)
    return min(times)
