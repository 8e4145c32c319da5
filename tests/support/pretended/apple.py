"""What Apple's GPUs lack: float64, and the operations that torch has no kernel of theirs for."""

from functools import cache
from pathlib import Path

import torch
import yaml

from .device import PretendedCUDA

TABLE = "packaged/ATen/native/native_functions.yaml"  # which devices have kernels, as torch is built from it
ANY_DEVICE = ("CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")


class PretendedMPS(PretendedCUDA):
    """As PretendedCUDA, of "mps". Raises TypeError for a float64 tensor on it, as torch does, and NotImplementedError
    for an operation without a kernel. What types a kernel takes, and what it computes, is not known here."""

    device = torch.device("mps:0")

    def note(self, kind: str, what: str) -> None:
        super().note(kind, what)
        if kind == "float64":
            raise TypeError(f"{what}: there is no float64 on mps, at {next(iter(self.now.float64)).place}")

    def computed(self, func, name: str, args, kwargs, here):
        if func.namespace == "aten" and str(func).removeprefix("aten.").removesuffix(".default") in without_kernel():
            raise NotImplementedError(f"{func} has no kernel for mps")
        return super().computed(func, name, args, kwargs, here)


@cache
def without_kernel() -> frozenset[str]:
    """Names of ATen's operations, as "sort.stable"."""
    import torchgen

    text = (Path(torchgen.__file__).parent / TABLE).read_text(encoding="utf-8")
    entries = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    kernels = {entry["func"].split("(")[0]: entry for entry in entries}
    return frozenset(name for name, entry in kernels.items() if not has_kernel(entry, kernels))


def has_kernel(entry: dict, kernels: dict[str, dict]) -> bool:
    if "structured_delegate" in entry:
        entry = kernels[entry["structured_delegate"]]
    devices = [device.strip() for devices in entry.get("dispatch", ()) for device in devices.split(",")]
    return not devices or any(device == "MPS" or device in ANY_DEVICE for device in devices)
