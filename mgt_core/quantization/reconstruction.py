"""Layer-wise fine-tuning: codes and bias of a 4-bit layer that reproduce the float layer's outputs best.

The authors of SCQ train the whole network on images between the calibrations; each layer by itself against
its own float outputs needs none. Gradients pass the rounding unchanged (straight-through, arXiv 1308.3432).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .formats import Int4Layer
from .layers import parameter

RATE = 0.02  # of the mean size of a weight


@torch.inference_mode(False)  # hosts run nodes under it, and nothing can be differentiated there
def reconstruct(layer: Int4Layer, source: nn.Linear, inputs: Tensor, steps: int) -> Int4Layer:
    """A copy of `layer` with other codes and bias. inputs: [R, K] float32 rows that `source` was given."""
    weight, inputs = source.weight.detach().float().clone(), inputs.clone()  # they may come from inference mode
    wanted = F.linear(inputs, weight)
    best, best_loss = layer.weight, float("inf")
    with torch.enable_grad():
        free = weight.clone().requires_grad_()
        optimizer = torch.optim.AdamW([free], lr=RATE * float(weight.abs().mean()), weight_decay=0.0)
        for step in range(steps + 1):
            with torch.no_grad():
                codes = layer.weight if step == 0 else layer.codes_of(free)
                stored = with_codes(layer, codes).weight_matrix()
            error = F.linear(inputs, free + (stored - free).detach()) - wanted
            loss = error.square().mean()
            if loss.item() < best_loss:
                best, best_loss, offset = codes, loss.item(), error.detach().mean(0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = with_codes(layer, best)
    if found.bias is not None:
        found.bias = parameter(found.bias - offset.to(found.bias.dtype))
    return found


def with_codes(layer: Int4Layer, codes: Tensor) -> Int4Layer:
    """The layer with other codes on the same grid."""
    changed = copy.copy(layer)
    changed._parameters = dict(layer._parameters)
    changed.weight = parameter(codes)
    return changed
