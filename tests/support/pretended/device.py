"""Every operation on the pretended device, from the dispatcher down: where it is computed, and what is noted."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from . import calls
from .graphs import CUDAGraph
from .host import Arrivals, stand_ins
from .notes import Note, Seen, place
from .tensor import CPU, NESTED, DeviceTensor, Pretence, held, is_here, mapped, tensors_in

aten = torch.ops.aten
# Composite for the CPU, one kernel on a GPU.
WHOLE = {"_fused_rms_norm"}
# No kernel of their own, though they give no view.
FREE = {
    "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "detach", "detach_", "lift_fresh",
    "_unsafe_view", "_reshape_alias", "set_",
}  # fmt: skip
SHAPED_BY_VALUES = {
    "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount",
}  # fmt: skip
READ = {"_local_scalar_dense", "equal", "_linalg_check_errors"}  # what comes out is the host's
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
MASKS = (torch.bool, torch.uint8)
LONG = (torch.float64, torch.complex128)


class DeviceMix(RuntimeError):
    """What torch raises for tensors of two devices."""


class PretendedCUDA(TorchDispatchMode):
    """While it is entered, "cuda" is there (see the package).

    parts: what was seen, a new Seen begins at every `mark`. whole: all of them. steady: without the first part and the
    last, so with a mark at the end of every step what the later steps did. live: bytes on the device now.
    """

    device = torch.device("cuda:0")

    def __init__(self):
        super().__init__()
        self.depth = 0
        self.parts = [Seen()]
        self.arrivals = Arrivals()
        self.pinned: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        self.storages: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        self.live = 0
        self.capture: CUDAGraph | None = None

    def __enter__(self) -> "PretendedCUDA":
        self.depth += 1
        if self.depth == 1:  # deeper: for what an operation is made of
            Pretence.device = self.device
            self.stack = stand_ins(self)
            self.stack.enter_context(calls.Calls(self))
        return super().__enter__()

    def __exit__(self, *exception):
        try:
            return super().__exit__(*exception)
        finally:
            self.depth -= 1
            if not self.depth:
                self.stack.close()

    # What was seen

    @property
    def now(self) -> Seen:
        return self.parts[-1]

    @property
    def whole(self) -> Seen:
        return sum(self.parts[1:], self.parts[0])

    @property
    def steady(self) -> Seen:
        return sum(self.parts[1:-1], Seen())

    def mark(self) -> None:
        """Begin a new part."""
        self.parts.append(Seen(peak=self.live))

    def reset(self) -> None:
        """Forget what was seen."""
        self.parts = [Seen(peak=self.live)]

    def note(self, kind: str, what: str) -> None:
        getattr(self.now, kind)[Note(what, place())] += 1

    def wait(self, what: str) -> None:
        self.note("waits", what)
        if self.capture is not None:
            raise RuntimeError(f"{what}: not permitted while a graph is captured, at {place()}")
        self.arrivals.arrive()

    def mix(self, what: str) -> None:
        self.note("mixes", what)
        raise DeviceMix(f"{what}: expected all tensors to be on the same device, at {place()}")

    def put(self, module: nn.Module) -> nn.Module:
        """`module`, its weights moved in place; nothing of it is noted. torch knows no gradients for such a device."""
        before = self.parts
        self.reset()
        module.requires_grad_(False).to(self.device.type)
        self.parts = before
        self.now.peak = max(self.now.peak, self.live)
        return module

    # Every operation

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = tensors_in(args)
        if kwargs:
            tensors_in(kwargs.values(), tensors)
        here = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        if not here and not any(is_here(value) for value in (*args, *kwargs.values())):
            return self.on_host(func, name, args, kwargs)
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if func is aten.scaled_dot_product_attention.default:
            return calls.attention(self, *args, **kwargs)
        if name not in WHOLE and composite(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if name in ("_to_copy", "copy_"):
            source, target = (args[1], args[0]) if name == "copy_" else (args[0], None)
            device = target.device if name == "copy_" else torch.device(kwargs.get("device") or source.device)
            if source.device.type != device.type:
                late = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
                return self.moved(source, target, late, device, kwargs)
        elif len(here) < len(tensors):
            self.check_devices(name, tensors)
        if name in READ or name in SHAPED_BY_VALUES or (name == "repeat_interleave" and "output_size" not in kwargs):
            self.wait(name)
        if name in INDEXED and any(index is not None and index.dtype in MASKS for index in args[1]):
            self.wait(f"{name} with a mask")
        return self.computed(func, name, args, kwargs, here)

    def on_host(self, func, name: str, args, kwargs):
        """What does not concern the device, but for memory that is pinned for it."""
        if name in ("pin_memory", "_pin_memory"):
            return self.pin(args[0].clone())
        if name == "is_pinned":
            return args[0].untyped_storage() in self.pinned
        if kwargs.get("pin_memory"):
            return self.pin(func(*args, **kwargs | {"pin_memory": False}))
        return func(*args, **kwargs)

    def pin(self, values: Tensor) -> Tensor:
        self.pinned.add(values.untyped_storage())
        return values

    def check_devices(self, name: str, tensors: list[Tensor]) -> None:
        """Single values of the CPU go with tensors of the device, and so do indices, which torch sends after them."""
        apart = [t for t in tensors if not isinstance(t, DeviceTensor) and t.ndim]
        if apart and name in INDEXED:
            self.wait(f"{name} with an index on the CPU")
        elif apart:
            self.mix(f"{name} of a tensor {list(apart[0].shape)} on the CPU and one on the device")

    def moved(self, source: Tensor, target: Tensor | None, late: bool, device: torch.device, kwargs: dict) -> Tensor:
        """A copy from one device to the other, into `target` or a new tensor."""
        dtype = target.dtype if target is not None else kwargs.get("dtype") or source.dtype
        of_host = source if is_here(device) else target
        # What is converted or laid out anew on the way goes by memory that is not pinned.
        plain = source.dtype == dtype and dense(held(source)) and (target is None or target.stride() == source.stride())
        pinned = of_host is not None and of_host.untyped_storage() in self.pinned
        free = late and pinned and plain
        what = f"{list(source.shape)} {str(source.dtype).removeprefix('torch.')}"
        if is_here(device):
            self.arrivals.before(source)
            self.note("uploads", what) if free else self.wait(f"copy to the device, {what}")
            if target is not None:
                return self.done(lambda: target.held.copy_(source), "", [target], [target])
            kwargs = kwargs | {"device": CPU, "non_blocking": False}
            return self.done(lambda: aten._to_copy(source, **kwargs), "")
        if free:
            self.note("downloads", what)
            self.done(lambda: self.arrivals.add(target, source.held), "")
            return target
        self.wait(f"copy to the CPU, {what}")
        if target is not None:
            return target.copy_(source.held)
        return aten._to_copy(source.held, **kwargs)

    def computed(self, func, name: str, args, kwargs, here: list[DeviceTensor]):
        """By the CPU; what it gives is on the device, and a tensor that was written to stays the one it was."""
        own = mapped(held, args), {key: mapped(held, (value,))[0] for key, value in kwargs.items()}
        if name in READ:
            return func(*own[0], **own[1])
        written = written_to(func, args, kwargs) if self.capture is not None else ()
        return self.done(lambda: func(*own[0], **own[1]), name, written, here, func.is_view or name in FREE)

    def done(
        self,
        compute: Callable[[], object],
        name: str,
        written: Sequence[DeviceTensor] = (),
        here: Sequence[DeviceTensor] = (),
        view: bool = False,
    ):
        """What `compute` gives, wrapped and noted as a kernel of that name ("" for none).

        written: tensors that it may write to. here: those whose own memory it may give back. view: whether it is no
        work for the device at all."""
        if self.capture is not None:
            for tensor in written:
                self.capture.writes(tensor.held)
        out = compute()
        outs = out if type(out) in NESTED else (out,)
        results = tensors_in(outs)
        owners = {id(tensor.held): tensor for tensor in here}
        if not view:
            if name and any(result.numel() for result in results):
                self.note("kernels", name)
            if any(result.dtype in LONG for result in results):
                self.note("float64", name or "copy to the device")
            if self.capture is not None:
                self.capture.add(compute, results, owners)
        wrapped = mapped(lambda value: self.wrapped(value, owners), outs)
        return wrapped if outs is out else wrapped[0]

    def wrapped(self, values, owners: Mapping[int, DeviceTensor] = MappingProxyType({})):
        """What the host holds in place of a tensor that the CPU computed: one of `owners` (by the id of what it holds)
        where it was there before."""
        if not isinstance(values, Tensor):
            return values
        if id(values) in owners:
            return owners[id(values)]
        storage = values.untyped_storage()
        if storage not in self.storages:
            self.storages.add(storage)
            self.live += storage.nbytes()
            self.now.peak = max(self.now.peak, self.live)
            weakref.finalize(storage, self.freed, storage.nbytes())
        return DeviceTensor(values)

    def freed(self, size: int) -> None:
        self.live -= size


_composite: dict = {}


def composite(func) -> bool:
    """Whether torch makes it of other operations, whatever the device."""
    if func not in _composite:
        has = torch._C._dispatch_has_kernel_for_dispatch_key
        _composite[func] = has(func.name(), "CompositeImplicitAutograd")
    return _composite[func]


def written_to(func, args, kwargs) -> list[DeviceTensor]:
    """The arguments that it writes to."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return tensors_in([given.get(name) for name in written])


def dense(tensor: Tensor) -> bool:
    """Whether the values lie side by side, in whatever order."""
    ordered = tensor.permute(sorted(range(tensor.ndim), key=lambda d: (-tensor.stride(d), -tensor.shape[d])))
    return ordered.is_contiguous()
