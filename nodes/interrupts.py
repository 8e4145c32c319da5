"""Has the work of every node end soon after Interrupt is pressed, also inside a step or a decode."""

from functools import wraps
from typing import Any

from .. import mgt_core
from . import host


def ends_when_interrupted(node: type) -> None:
    """Has the function of a node class ask the host between the parts of what takes long."""
    function = getattr(node, node.FUNCTION)

    @wraps(function)
    def run(self, *values: Any, **named: Any) -> Any:
        with mgt_core.interruptible(host.raise_if_interrupted):
            return function(self, *values, **named)

    setattr(node, node.FUNCTION, run)
