"""When plain torch is what is wanted."""

import torch


def needs_plain() -> bool:
    """Whether torch.compile looks on, which makes kernels of its own, or gradients are to flow."""
    return torch.compiler.is_compiling() or torch.is_grad_enabled()
