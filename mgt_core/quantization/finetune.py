"""Fine-tuning of the whole network between the two calibrations of SCQ (arXiv 2411.10781, section 3.4).

As its authors' code does: AdamW, the cross entropy of masked tokens given the prompt, weights and int8 inputs rounded
as they will be, gradients passed through the rounding unchanged (straight-through, arXiv 1308.3432). The weights that
come out are float ones again, to be quantized anew; nothing of the given network is touched.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..kernels.fused_linear import FusedLinear
from ..kernels.sides import POSITIVE, sides
from ..sampling.draws import seeded_generator
from ..types import Condition
from .formats import FORMATS
from .layers import PackedLayer, Treatment, rounded, scales_tensor
from .packing import rotate
from .schemes import Scheme, names_in
from .session import Recorded, Session
from .surgery import replaced

DECAY = 0.01  # of the weights, as published


class Rounded(nn.Module):
    """Rows of a float layer, computed as their packed form will. `stored`, of all rows, is set from outside."""

    def __init__(self, whole: nn.Linear, rows: slice, how: Treatment, rotation: int, form: type[PackedLayer]):
        super().__init__()
        self.whole, self.rows, self.rotation, self.form = whole, rows, rotation, form
        self.in_features, self.out_features = whole.in_features, rows.stop - rows.start
        self.stored = whole.weight.detach()
        apart, device = max(len(how.inputs), len(how.outputs)) > 1, whole.weight.device
        self.inputs, self.outputs = (
            scales_tensor(values, apart, device) if values else None for values in (how.inputs, how.outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        if self.inputs is not None:
            turned = rotate(x, self.rotation)
            x = through(x, rotate(rounded(turned.detach(), self.inputs, self.form), self.rotation))
        weight = through(self.whole.weight[self.rows], self.stored[self.rows])
        y = F.linear(x, weight, None if self.whole.bias is None else self.whole.bias[self.rows])
        return y if self.outputs is None else through(y, rounded(y.detach(), self.outputs))


def through(value: Tensor, other: Tensor) -> Tensor:
    """`other`, with the gradient of `value`."""
    return value + (other - value).detach()


class Student:
    """A float32 copy `network` of one, which learns, and `rounding`: the same weights seen through the rounding."""

    def __init__(self, network: Backbone, scheme: Scheme, how: Mapping[str, Treatment], device: torch.device):
        self.scheme = scheme
        self.network = replaced(network, {}, share=False).to(device, torch.float32).requires_grad_(True)
        self.wholes: dict[nn.Linear, list[Rounded]] = {}
        layers, form = {}, FORMATS.get(scheme.format)
        for path, module in self.network.named_modules():
            fused = isinstance(module, FusedLinear)
            for name in names_in(path, module) if fused else [path]:
                if name not in how:
                    continue
                rows = module.rows(name.rpartition(".")[2]) if fused else slice(0, module.out_features)
                layers[name] = Rounded(module, rows, how[name], scheme.rotation(module), form)
                self.wholes.setdefault(module, []).append(layers[name])
        self.rounding = replaced(self.network, layers)

    @torch.no_grad()
    def round(self) -> None:
        """Quantize the weights as they are now."""
        for whole, parts in self.wholes.items():
            stored = self.scheme.pack(whole).weight_matrix()
            for part in parts:
                part.stored = stored

    def loss(self, state: Recorded, picture: Tensor, condition: Condition) -> Tensor:
        """Mean cross entropy of the tokens of `picture` [1, h, w] at the masked cells of `state`."""
        with sides(torch.full((1,), POSITIVE, device=picture.device)):
            network, tokens = state.shown(self.rounding, state.tokens)
            prepared = network.prepare(condition, tuple(tokens.shape[1:]))
            features = network.features(tokens, state.timestep, prepared).flatten(1, -2)
        cells = (tokens == self.network.mask_id).flatten()
        wanted = state.shown(self.rounding, picture)[1].flatten()[cells]
        return F.cross_entropy(network.head(features[0, cells]).float(), wanted)


@torch.inference_mode(False)  # hosts run nodes under it, and nothing can be differentiated there
def finetuned(session: Session, scheme: Scheme, how: Mapping[str, Treatment]) -> Backbone:
    """A network of its own with the weights of the session's after `run.finetune` steps on its finished pictures,
    in their types. how: treatment of the layers that will be packed, by name."""
    run, device = session.run, session.model.acquire()
    pairs = [normal(positive.to(device)) for positive, _ in session.conditions]
    pictures = [(place, tokens.to(device).clone()) for place, tokens in session.finished]
    generator = seeded_generator(f"fine-tuning {run.seed}", torch.device("cpu"))
    with torch.enable_grad():
        student = Student(session.model.network, scheme, how, device)
        optimizer = torch.optim.AdamW(student.network.parameters(), lr=run.rate, weight_decay=DECAY)
        for _ in range(run.finetune):
            student.round()
            for pick in torch.randint(len(pictures), (run.batch,), generator=generator).tolist():
                place, picture = pictures[pick]
                state = session.some_masked(place, picture, generator)
                (student.loss(state, picture, pairs[place]) / run.batch).backward()
                session.meter.tick()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    found = replaced(session.model.network, {}, share=False)
    for name, value in found.named_parameters():
        value.copy_(student.network.get_parameter(name).detach())
    return found


def normal(condition: Condition) -> Condition:
    """The same outside of inference mode."""
    held = {name: value for name, value in vars(condition).items() if value is not None}
    return Condition(**{name: value.clone() if isinstance(value, Tensor) else value for name, value in held.items()})
