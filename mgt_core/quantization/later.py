"""A calibration of weights that are packed already, of networks that are too large to be held in floats.

What SCQ keeps are the scales of its second calibration, which looks at packed weights in any case. What is left out is
the first, which ranks the layers by their outputs in floats; here they are ranked by those of the packed ones.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..model import MGTModel
from ..types import Callback, Condition
from .calibration import Calibration, CalibrationRun
from .layers import packed_layers
from .observers import Observed, Watch
from .quantize import treatments, treatments_by
from .schemes import Scheme
from .session import Progress, Session


@torch.no_grad()
def calibrate_packed(
    model: MGTModel,
    scheme: Scheme,
    positive: Condition,
    negative: Condition,
    run: CalibrationRun | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
    pictures: Tensor | None = None,
) -> tuple[MGTModel, Calibration]:
    """The model quantized by `scheme`, and what was found. model: quantized by `scheme.weights_alone`; its network is
    the one that is treated, since there may be no room for two.

    The rest as `quantize` has it, which names the errors."""
    session = Session.of(
        model, positive, negative, run or CalibrationRun(), progress=progress, callback=callback, pictures=pictures,
        replays=1,
    )  # fmt: skip
    layers = packed_layers(model.network)
    watches = {name: Watch(layer.settings.rotation) for name, layer in layers.items()}
    session.replay({name: Observed(layer, watches[name]) for name, layer in layers.items()}, session.states())
    model = treated(model, scheme, Calibration(repr(scheme), treatments(watches, scheme)))
    return model, Calibration(repr(scheme), {name: layer.treatment for name, layer in layers.items()})


def treated(model: MGTModel, scheme: Scheme, calibration: Calibration) -> MGTModel:
    """The same by a calibration that was stored. Raises MGTError for one of another network."""
    layers = packed_layers(model.network)
    how = treatments_by(model.network, layers, scheme, calibration)
    for name, layer in layers.items():
        layer.treat(how[name])
    return replace(model, quantization=scheme)
