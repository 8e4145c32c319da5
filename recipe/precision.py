"""bfloat16 where it makes training faster."""

from __future__ import annotations

import torch


def fast_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16; off on processors without instructions for it, where it takes ten times as long."""
    able = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=able)
