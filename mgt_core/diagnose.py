"""Finding where numbers go wrong."""

from collections.abc import Callable

from torch import Tensor, nn


def non_finite_origin(network: nn.Module, evaluate: Callable[[], object]) -> str:
    """Name of the first layer whose weights or output are not finite while `evaluate` runs.

    "the guidance" when every layer is finite: the combination overflowed.
    """
    for name, weight in network.named_parameters():
        if not bool(weight.isfinite().all()):
            return f"the weights of {name}"
    first: list[str] = []

    def watch(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            parts = output if isinstance(output, tuple) else (output,)
            broken = any(isinstance(part, Tensor) and not bool(part.isfinite().all()) for part in parts)
            if broken and not first:
                first.append(f"the output of {name}")

        return hook

    # Hooks of inner modules run before those of the modules that hold them.
    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return first[0] if first else "the guidance or a modifier (every layer of the network is finite)"
