"""What host.py is to nodes, to what works in the middle of another one: the host's node classes, its errors, whose work
it is, and networks that leave those of the run where they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from torch import nn

from ..mgt_core.errors import MGTError
from . import host

_classes: ContextVar[Mapping[str, type] | None] = ContextVar("mgt_node_classes", default=None)


@contextmanager
def classes_from(classes: Mapping[str, type]) -> Iterator[None]:
    """Outside ComfyUI: the node classes, by id, of graphs that run inside this block."""
    token = _classes.set(classes)
    try:
        yield
    finally:
        _classes.reset(token)


def node_class(class_type: str) -> Any:
    """Raises MGTError for one that is not there."""
    module = host._comfy("nodes") if host._comfy("comfy_execution.graph") else None
    classes = _classes.get() or getattr(module, "NODE_CLASS_MAPPINGS", {})
    if class_type not in classes:
        raise MGTError(f"there is no node of the class {class_type} here")
    return classes[class_type]


def is_v3(cls: Any) -> bool:
    """Whether it is declared the second way (comfy_api), with a schema."""
    internal = host._comfy("comfy_api.internal")
    return internal is not None and issubclass(cls, internal._ComfyNodeInternal)


def inputs_of(cls: Any, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict]:
    """What a class declares for these inputs, and what its V3 form is called with beside them."""
    declared = cls.INPUT_TYPES()
    io = host._comfy("comfy_api.latest._io")
    if not is_v3(cls) or not hasattr(io, "get_finalized_class_inputs"):  # hosts before dynamic inputs
        return declared, {}
    hidden = declared.get("hidden", {})
    declared, _, data = io.get_finalized_class_inputs(declared, given)
    return {**declared, "hidden": hidden}, data


def v3_method(cls: Any, data: dict, hidden: Mapping[str, Any]) -> Any:
    """What runs a V3 class, bound to a class of its own that holds the hidden inputs, as hosts have it."""
    io = host._comfy("comfy_api.latest._io")
    held = {kind: hidden[kind.value] for kind in io.Hidden if kind.value in hidden}
    later = hasattr(io, "get_finalized_class_inputs")
    cls.VALIDATE_CLASS()
    clone = cls.PREPARE_CLASS_CLONE({**data, "hidden_inputs": held} if later else held)
    method = getattr(cls, cls.FUNCTION).__func__

    def run(**inputs: Any) -> Any:
        return method(clone, **(io.build_nested_inputs(inputs, data) if later else inputs))

    return run


def is_blocked(value: Any) -> bool:
    graph = host._comfy("comfy_execution.graph")
    return graph is not None and isinstance(value, graph.ExecutionBlocker)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is how the host ends what the user has cancelled."""
    management = host._comfy("comfy.model_management")
    return management is not None and isinstance(error, management.InterruptProcessingException)


def working(node_id: str) -> Any:
    """A context in which the host takes progress and previews for those of this node."""
    utils = host._comfy("comfy_execution.utils")
    context = utils.get_executing_context() if utils else None
    return utils.CurrentNodeContext(context.prompt_id, node_id) if context else nullcontext()


class AmongOthers(host.ManagedPlacement):
    """Networks of ours that are on the device stay there."""

    def _patchers(self) -> list:
        loaded = host._comfy("comfy.model_management").loaded_models()
        ours = (one for one in loaded if isinstance(getattr(one, "model", None), host.MGTNetwork))
        return [self._patcher, *(one for one in ours if one is not self._patcher)]


def among_others(network: nn.Module) -> AmongOthers | None:
    """Where a network works in the middle of a run; None outside ComfyUI."""
    return AmongOthers(network, *host._devices("model")) if host._comfy("comfy.model_management") else None
