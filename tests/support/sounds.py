"""The small codec of MAGNeT's golden tree in both forms of files, and a model of sound that is never evaluated."""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

import mgt_core
from mgt_core.backbones.base import Backbone
from mgt_core.codecs.encodec import EnCodec
from mgt_core.loading.networks import load_codec
from mgt_core.types import SOUND

from .device import DEVICE
from .golden import OWN

PUBLISHED = Path("audio") / "magnet" / "compression_state_dict.bin"


def published_codec(folder: Path, change: Callable[[dict], object] = lambda config: None, root: Path = OWN) -> Path:
    """A folder with the config of the authors' solver as JSON, which `change` may edit, and tensors in their names."""
    held = torch.load(root / PUBLISHED, weights_only=True)
    config = yaml.safe_load(held["xp.cfg"])
    change(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(held["best_state"]), folder / "model.safetensors")
    return folder


def converted_codec(folder: Path, root: Path = OWN) -> Path:
    """The same as transformers saves it."""
    with tempfile.TemporaryDirectory() as own:
        loaded(published_codec(Path(own), root=root)).network.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> EnCodec:
    return load_codec(folder, torch.float32, DEVICE)


@cache
def sound_codec(root: Path = OWN) -> EnCodec:
    with tempfile.TemporaryDirectory() as folder:
        return loaded(published_codec(Path(folder), root=root))


class Frames(Backbone):
    """Says what a network of sound says of itself."""

    makes = SOUND
    condition_fields = ("hidden",)
    mask_id = property(lambda self: self.codes)
    codebook_size = property(lambda self: self.codes)
    trained_grid = property(lambda self: (self.books, 40))
    stage_shares = property(lambda self: (2, *[1] * (self.books - 1)))

    def __init__(self, books: int, codes: int):
        super().__init__()
        self.books, self.codes = books, codes
        self.weight = torch.nn.Parameter(torch.zeros(1, device=DEVICE))

    @staticmethod
    def recognizes(config, shapes) -> bool:
        return False

    def prepare(self, condition, grid):
        raise NotImplementedError

    features = head = prepare


def sound_model(books: int = 4, codes: int = 32, frame: int = 32, rate: int = 1600) -> mgt_core.MGTModel:
    """As many frames a second as MAGNeT has, 50."""
    return mgt_core.MGTModel(Frames(books, codes), pixels_per_token=frame, sample_rate=rate, codec=sound_codec())
