"""The worth of the second calibration: both kinds of scales on states of prompts that neither saw."""

import json
from collections.abc import Iterator

import mgt_core
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.schemes import W4A8
from mgt_core.quantization.session import Session, compared
from mgt_core.quantization.surgery import replaced

from .schemes import calibrated

SHARES = (1 / 3, 1.0)  # of layers that take int8 inputs


def second_against_first(
    pipe: mgt_core.Pipeline, calibration: list[str], unseen: list[str], seeds: int, states: int
) -> Iterator[dict]:
    """For every share and seed: how predictions on the captions `unseen` change with the scales of either calibration.

    calibration: two captions a seed.
    """
    count = len(unseen)
    run = CalibrationRun(states=states, seed=1000)
    session = Session.of(pipe.model, pipe.text.encode(unseen), pipe.text.encode([""] * count), run)
    held_out = session.record()
    expected = session.replay({}, held_out)
    for share in SHARES:
        for seed in range(seeds):
            captions = calibration[2 * seed : 2 * seed + 2]
            done = calibrated(pipe, W4A8(int8_share=share), captions, seed, states)
            row = {"share": round(share, 3), "seed": seed}
            for name, scale in (("first", "input_scale"), ("second", "kept_scale")):
                network = replaced(done.model.network, {}, share=False)
                for layer in done.report.layers:
                    if layer.kept_scale:
                        network.get_submodule(layer.name).input_scale.fill_(getattr(layer, scale))
                found = session.replay(packed_layers(network), held_out, expected)
                row[f"{name}_agreement"], row[f"{name}_shift"] = compared(expected, found)
            moved = [abs(one.kept_scale / one.input_scale - 1) for one in done.report.layers if one.kept_scale]
            row["scales_moved"] = sum(moved) / len(moved)
            print(json.dumps(row), flush=True)
            yield row
