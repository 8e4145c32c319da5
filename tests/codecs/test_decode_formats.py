"""What a card computes a decode in: the same pictures to the eye, in the memory that was asked for."""

import copy
import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import mgt_core
from bench.speed.decode import psnr
from bench.speed.rounding import RoundedConvolutions, RoundedResults, tf32, tf32_cut
from mgt_core.codecs import maps
from mgt_core.codecs.base import Codec, Direction, convolutions, cudnn_setting
from mgt_core.codecs.llamagen import LlamaGenCodec, LlamaGenConfig, LlamaGenVQ
from mgt_core.codecs.magvitv2 import MAGVITConfig, MAGVITv2, MAGVITv2Codec, Stack
from mgt_core.codecs.maps import activated
from mgt_core.codecs.maskgit_vqgan import MaskGitVQGAN, MaskGitVQGANCodec, VQGANConfig
from mgt_core.codecs.vqmodel import VQModelCodec
from mgt_core.loading.networks import load_codec
from support.golden import OWN, bundles, pipeline

pytestmark = pytest.mark.cpu_only("what a card computes is tried on a CPU")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
CODECS = {
    "demo": lambda: mgt_core.load("demo").codec,
    "meissonic": lambda: pipeline(bundles()[0]).codec,
    "maskgit_vqgan": lambda: load_codec(OWN / "maskgit" / "vqgan_tiny", torch.float32, CPU),
    "magvitv2": lambda: load_codec(OWN / "unified" / "showo" / "magvitv2", torch.float32, CPU),
    "llamagen": lambda: load_codec(OWN / "maskgit" / "halton_tiny" / "vq" / "vq.safetensors", torch.float32, CPU),
}


@pytest.fixture
def as_on_a_card(monkeypatch):
    """Group normalization as where torch's does not keep the layout."""
    monkeypatch.setattr(maps, "KEEPS_LAYOUT", set())


def ids(codec, side):
    return torch.randint(codec.codebook_size, (1, side, side), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["this torch", "older torch"])
def setting(request, monkeypatch):
    """Reads and sets what convolutions may do, by either interface."""
    if request.param == "older torch":
        monkeypatch.setattr(torch.backends.cudnn, "conv", None, raising=False)
    where, name, values = cudnn_setting()
    before = getattr(where, name)
    yield lambda *value: setattr(where, name, values[value[0]]) if value else values.index(getattr(where, name))
    setattr(where, name, before)


def test_decoding_may_round_and_encoding_may_not(setting, monkeypatch):
    """What the convolutions of a GPU are allowed, seen from within; `exact` decodes as one encodes."""
    seen = []
    codec = mgt_core.load("demo").codec
    for name in ("_decode", "_latents"):
        own = getattr(VQModelCodec, name)
        monkeypatch.setattr(VQModelCodec, name, lambda s, x, own=own: seen.append(setting()) or own(s, x))
    for allowed in (False, True):
        setting(allowed)
        image = codec.decode(ids(codec, 2))
        codec.decode(ids(codec, 2), exact=True)
        codec.encode(image)
        assert setting() == allowed
    assert seen == [True, False, False] * 2


@pytest.mark.parametrize("before", [False, True])
def test_the_setting_survives_an_error(setting, before):
    setting(before)
    with pytest.raises(ZeroDivisionError), convolutions(tf32=not before):
        assert setting() != before
        raise ZeroDivisionError
    assert setting() == before


def test_layouts():
    rounded, exact = (Direction(abs, max, max, name="decoding", tf32=tf32) for tf32 in (True, False))
    assert rounded.layout(CPU) == exact.layout(CPU) == rounded.layout(GPU) == torch.channels_last
    assert exact.layout(GPU) == torch.contiguous_format


@pytest.mark.parametrize("name", CODECS)
def test_a_cards_path_is_the_same_but_for_rounding(name, monkeypatch):
    """The normalization that overwrites and keeps channels last, in every codec."""
    codec = CODECS[name]()
    tokens = ids(codec, 6)
    plain = codec.decode(tokens)
    used = []
    change = maps.changed
    monkeypatch.setattr(maps, "changed", lambda *given: used.append(1) or change(*given))
    monkeypatch.setattr(maps, "KEEPS_LAYOUT", set())
    torch.testing.assert_close(codec.decode(tokens), plain, atol=2e-5, rtol=0)
    assert used


@pytest.mark.parametrize("rounding", [tf32, tf32_cut])
@pytest.mark.parametrize("name", CODECS)
def test_tf32_is_50_db_from_float32(name, rounding, as_on_a_card):
    codec = CODECS[name]()
    tokens = ids(codec, 6)
    exact = codec.decode(tokens, exact=True)
    with RoundedConvolutions(rounding):
        rounded = codec.decode(tokens)
    assert not torch.equal(rounded, exact)
    assert psnr(rounded, exact) >= 50


def test_rounding_to_tf32():
    step = 2.0**-10
    values = torch.tensor([1 + step / 2, 1 + step / 2 + 2**-20, 1 + 1.5 * step, -3.0, 0.0, 1e-3])
    nearest = torch.tensor([1, 1 + step, 1 + 2 * step, -3.0, 0.0, (1 + 25 * step) / 1024])
    torch.testing.assert_close(tf32(values), nearest, atol=0, rtol=1e-7)
    cut = torch.tensor([1, 1, 1 + step, -3.0, 0.0])
    assert torch.equal(tf32_cut(values)[:5], cut)


@torch.inference_mode()
def test_rounding_to_float16_has_its_range():
    x = torch.tensor([1 + 2.0**-11, 300.0])
    with RoundedResults(torch.float16):
        assert torch.equal(x * 1.0, torch.tensor([1.0, 300.0]))
        assert torch.equal(x * 300.0, torch.tensor([300.25, torch.inf]))
        assert torch.equal(x.mul_(1.0), torch.tensor([1.0, 300.0]))


@torch.inference_mode()
@pytest.mark.parametrize("overwrite", [False, True])
def test_normalization_in_float32_of_large_values(overwrite, as_on_a_card):
    """A mean far from zero does not cost the variance its digits."""
    norm = nn.GroupNorm(2, 8)
    nn.init.normal_(norm.weight)
    x = (torch.randn(2, 8, 40, 30) + 1000).to(memory_format=torch.channels_last)
    expected = F.silu(F.group_norm(x.double(), 2, norm.weight.double(), norm.bias.double(), norm.eps))
    given = x.clone()
    ours = activated(x, norm, overwrite)
    torch.testing.assert_close(ours.double(), expected, atol=2e-3, rtol=0)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert (ours.data_ptr() == x.data_ptr()) == overwrite and (overwrite or torch.equal(x, given))


class LiveBytes(TorchDispatchMode):
    """Peak of what lives at once of the tensors that were made inside, in bytes."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.track(tensor.untyped_storage(), given)
        return out

    def track(self, storage, given):
        if storage in self.known or storage in given:
            return
        self.known.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.freed, storage.nbytes())

    def freed(self, size):
        self.live -= size


def vqmodel(**sizes) -> Codec:
    config = copy.deepcopy(dict(mgt_core.load("demo").codec.network.config)) | sizes
    levels = len(config["block_out_channels"])
    config |= {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    return VQModelCodec(VQModelCodec.build(config, {}).eval())


MEASURED = {
    # Proportions of the published ones, a quarter of the channels and fewer codes.
    "vqmodel": lambda: vqmodel(block_out_channels=[32, 64, 64, 128, 192], layers_per_block=2),
    "vqmodel with equal levels": lambda: vqmodel(block_out_channels=[32, 32, 64], layers_per_block=2),
    "maskgit_vqgan": lambda: MaskGitVQGANCodec(MaskGitVQGAN(VQGANConfig((32, 32, 64, 64, 128), 32, 2, 64, 32)).eval()),
    # Its encoder is wider than its decoder, a level later.
    "magvitv2": lambda: MAGVITv2Codec(
        MAGVITv2(
            MAGVITConfig(
                encoder=Stack((32, 64, 64, 128, 128), (4, 3, 4, 3, 4)),
                decoder=Stack((32, 32, 64, 64, 128), (4, 4, 3, 4, 3)),
                stem=32,
                bits=13,
            )
        ).eval()
    ),
    "llamagen": lambda: LlamaGenCodec(
        LlamaGenVQ(LlamaGenConfig((32, 32, 64, 64, 128), (32, 32, 64, 64, 128), 32, 2, 64, 8, 32)).eval()
    ),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_memory_asked_for_is_what_is_used(name, as_on_a_card):
    """Within a fifth, both ways, of one picture and of several."""
    codec = MEASURED[name]()
    asked = []

    class Asked:
        def acquire(self, memory=0):
            asked.append(memory)
            return CPU

    codec = replace(codec, placement=Asked())
    tokens = ids(codec, 256 // codec.scale).expand(2, -1, -1)
    with LiveBytes() as live:
        image = codec.decode(tokens)
    assert max(asked) == 2 * codec.decode_bytes(256**2)
    assert live.peak == pytest.approx(max(asked), rel=0.2)
    asked.clear()
    with LiveBytes() as live:
        codec.latents(image[:1])
    assert live.peak == pytest.approx(max(asked), rel=0.2)


def test_a_picture_of_a_megapixel_goes_alone(monkeypatch):
    seen = []
    codec = mgt_core.load("demo").codec
    monkeypatch.setattr(VQModelCodec, "_decode", lambda s, x: seen.append(len(x)) or x.new_zeros(len(x), 3, 1, 1))
    for side, batch in ((1024, 2), (512, 5)):
        codec.decode_codes(torch.zeros(batch, 32, side // codec.scale, side // codec.scale))
    assert seen == [1, 1, 4, 1]
