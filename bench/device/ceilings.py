"""What it ran on, and what that can do at the most: matrix products, and copies."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import mgt_core

from ..hardware import describe
from ..speed.roofline import best_time, linear, measure_roofline
from ..speed.runs import NEGATIVE, prompts
from .fused import kernels
from .names import COPY, GUIDED, PRODUCT
from .session import Session
from .tries import Tries

SIDE, COPIED = 8192, 2**30  # of the matrices; bytes of a copy
TINY_SIDE, TINY_COPIED = 128, 2**16
TIMES = 10  # of each, the shortest of which counts


def machine(session: Session, tries: Tries) -> None:
    tries("hardware", partial(hardware, session))
    tries("comfy-kitchen", kernels)
    tries(PRODUCT, partial(product, session))
    tries(COPY, partial(copy, session))
    tries(GUIDED, partial(guided, session))


def hardware(session: Session) -> dict:
    found = describe(session.device)
    if session.gpu:
        kind = torch.cuda.get_device_properties(session.device)
        free, total = torch.cuda.mem_get_info(session.device)
        found |= {
            "capability": list(torch.cuda.get_device_capability(session.device)),
            "processors": kind.multi_processor_count,
            "memory_bytes": total,
            "memory_free_bytes": free,
            "cuda": torch.version.cuda,
        }
    return found


def product(session: Session) -> dict:
    side = TINY_SIDE if session.tiny else SIDE
    multiply = linear((1, side, side, side), session.dtype, session.device)
    seconds = best_time(multiply, session.device, TIMES)
    return {"tflop_a_second": 2 * side**3 / seconds / 1e12, "side": side}


def copy(session: Session) -> dict:
    """Bytes read and bytes written, both counted."""
    source = torch.randint(256, (TINY_COPIED if session.tiny else COPIED,), dtype=torch.uint8, device=session.device)
    target = torch.empty_like(source)
    seconds = best_time(lambda: target.copy_(source), session.device, TIMES)
    return {"bytes_a_second": 2 * source.numel() / seconds, "bytes": source.numel()}


def guided(session: Session) -> dict:
    """One guided evaluation of all cells: its products, each alone at its own shape, and the whole of it."""
    evaluate = guided_forward(session)
    roofline = measure_roofline(evaluate, session.dtype, session.device)
    return {
        "tflop": roofline.flops / 1e12,
        "product_tflop_a_second": roofline.rate / 1e12,
        "bound_seconds": roofline.bound_seconds,
        "seconds": best_time(evaluate, session.device),
    }


def guided_forward(session: Session) -> Callable[[], Tensor]:
    pipe, size = session.pipe, (session.settings.size, session.settings.size)
    condition = pipe.text.encode([NEGATIVE, prompts(1)[0]], size=size)
    tokens = mgt_core.empty_tokens(pipe, *size, batch=2).tokens.to(session.device)
    return lambda: pipe.model.logits(tokens, condition, 7)
