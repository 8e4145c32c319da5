"""Handle on a backbone and what has been attached to it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TypeVar

import torch
from torch import Tensor

from .adapters.attach import AttachedLoRA, adapt
from .adapters.lora import LoRA
from .backbones.base import GRID, Backbone
from .backbones.branch import Branch
from .codecs.token_codec import TokenCodec
from .conditioning.parts import ConditionInput, Conditions
from .errors import MGTError, finite_number
from .modifiers.base import Modifier
from .patches.base import Patch, RunPatch, in_turn
from .patches.compile import Compile
from .patches.cuda_graphs import CUDAGraphs
from .patches.guidance_reuse import GuidanceReuse
from .patches.guidance_schedule import GuidanceSchedule
from .patches.self_guidance import SelfGuidance
from .patches.step_skipping import StepSkipping
from .patches.token_cache import TokenCache
from .patches.token_merging import TokenMerging
from .pixels import is_side, scaled_to, told_nearest
from .placement import Placement, Resident, acquired_together, compute_dtype, room_of
from .plain import plain_number, plain_whole
from .quantization.schemes import Scheme
from .room import Room
from .settings import construct
from .types import PICTURES, SOUND, Condition, TokenState, micro_conditions

log = logging.getLogger(__name__)

TIMESTEP_RULES = ("index", "mask_ratio", "index_share")
LONGEST_SIDE = 16384  # pixels, as far as ComfyUI's own widgets go


Steps = TypeVar("Steps", int, float, Tensor)


def told_index(rule: str, index: Steps, steps: int) -> Steps:
    """What a network is told at step `index` of `steps` by a rule that looks at no tokens."""
    left = steps - 1 - index
    return left / steps if rule == "index_share" else left


@dataclass(frozen=True)
class MGTModel:
    """A backbone with its attachments. Methods that attach return a copy that shares the weights.

    pixels_per_token: side of the square of pixels that one token stands for; of sound, samples of a frame.
    sample_rate: samples per second of the sound that it makes; None where it makes pictures.
    timestep_rule: what the network is told at step k of T: "index" gives T - 1 - k, as Meissonic's
    pipelines do; "mask_ratio" the fraction of tokens still masked, as in training; "index_share" (T - 1 - k) / T, as
    Muddit's pipeline does.
    defaults: sampling settings the bundle recommends (steps, cfg, temperature); may be empty.
    codec: the bundle's codec, for previews only. quantization: the scheme its weights are packed by.
    trained_size: (height, width) in pixels of the pictures it was trained at, where known.
    modifiers, patches: in the order in which they were attached.
    loras: those whose updates `network` holds, in the order in which they were attached.
    """

    network: Backbone
    pixels_per_token: int
    timestep_rule: str = "index"
    defaults: Mapping = field(default_factory=dict)
    modifiers: tuple[Modifier, ...] = ()
    patches: tuple[Patch, ...] = ()
    codec: TokenCodec | None = None
    placement: Placement | None = None
    trained_size: tuple[int, int] | None = None
    quantization: Scheme | None = None
    loras: tuple[AttachedLoRA, ...] = ()
    sample_rate: int | None = None

    def __post_init__(self):
        if self.timestep_rule not in TIMESTEP_RULES:
            raise MGTError(f"timestep_rule is {self.timestep_rule!r}; accepted are {', '.join(TIMESTEP_RULES)}")

    @property
    def mask_id(self) -> int:
        return self.network.mask_id

    @property
    def codebook_size(self) -> int:
        return self.network.codebook_size

    @property
    def makes(self) -> str:
        """What its tokens stand for, PICTURES or SOUND."""
        return self.network.makes

    @property
    def in_stages(self) -> bool:
        """Whether the rows of its grid are filled one after the other (sampling/stages.py)."""
        return len(self.network.stage_shares) > 1

    @property
    def stage_shares(self) -> tuple[int, ...]:
        """About how many of a run's steps each stage takes, as a patch says, or the network."""
        own, chosen = self.network.stage_shares, self.patch("stage_steps")
        return own if chosen is None else chosen.shares_of(len(own))

    def at_stage(self, stage: int, tokens: Tensor) -> "MGTModel":
        """A view of it, and of its companions, on row `stage` of grids `tokens` [B, h, w] (Backbone.at_stage)."""
        patches = tuple(held.with_companions(lambda each: each.at_stage(stage, tokens)) for held in self.patches)
        return replace(self, network=self.network.at_stage(stage, tokens), patches=patches)

    @property
    def grid_multiple(self) -> int:
        return self.network.grid_multiple

    @property
    def dtype(self) -> torch.dtype:
        return compute_dtype(self.network)

    def with_modifier(self, modifier: Modifier) -> "MGTModel":
        """Attached after those already there. Raises MGTError for anything that is no modifier."""
        if not isinstance(modifier, Modifier):
            raise MGTError(f"with_modifier was given {modifier!r}; expected a logits modifier")
        return replace(self, modifiers=(*self.modifiers, modifier))

    def with_patch(self, patch: Patch) -> "MGTModel":
        """Takes the place of one attached before in the same slot. Raises MGTError for anything that is no patch, and
        for a backbone that it cannot act in."""
        if not isinstance(patch, Patch):
            raise MGTError(f"with_patch was given {patch!r}; expected a patch")
        patch.check(self.network)
        others = (held for held in self.patches if held.slot != patch.slot)
        return replace(self, patches=(*others, patch))

    def with_part(self, part: Modifier | Patch) -> "MGTModel":
        """What `with_modifier` or `with_patch` gives, whichever it is for."""
        return self.with_modifier(part) if isinstance(part, Modifier) else self.with_patch(part)

    def each_repeated(self, images: int, times: int) -> "MGTModel":
        """For so many candidates of each of `images` (Settings.each_repeated, Backbone.each_repeated)."""
        patches = tuple(patch.each_repeated(images, times) for patch in self.patches)
        return replace(self, network=self.network.each_repeated(times), patches=patches)

    def patch(self, slot: str) -> Patch | None:
        """What is attached in `slot`, which is the registered name of most patches."""
        return next((held for held in self.patches if held.slot == slot), None)

    def with_guidance(self, guidance: GuidanceSchedule) -> "MGTModel":
        """Guidance over the run; replaces one attached before."""
        if not isinstance(guidance, GuidanceSchedule):
            raise MGTError(f"with_guidance was given {guidance!r}; expected a GuidanceSchedule")
        return self.with_patch(guidance)

    def with_token_merging(self, ratio: float = 0.25, **settings) -> "MGTModel":
        """Token merging (see TokenMerging for the settings); replaces one attached before."""
        return self.with_patch(construct(TokenMerging, "token merging", ratio=ratio, **settings))

    def with_token_cache(self, share: float = 0.25, **settings) -> "MGTModel":
        """Token cache (see TokenCache for the settings); replaces one attached before. With token merging,
        the evaluations that compute all tokens are merged, the others not."""
        return self.with_patch(construct(TokenCache, "the token cache", share=share, **settings))

    def with_step_skipping(self, every: int = 2, **settings) -> "MGTModel":
        """Step skipping (see StepSkipping for the settings); replaces one attached before. It is decided first: with
        the token cache, a skipped evaluation neither uses nor changes what is cached."""
        return self.with_patch(construct(StepSkipping, "step skipping", every=every, **settings))

    def with_guidance_reuse(self, every: int = 2, **settings) -> "MGTModel":
        """Guidance residual reuse (see GuidanceReuse for the settings); replaces one attached before."""
        return self.with_patch(construct(GuidanceReuse, "guidance reuse", every=every, **settings))

    def with_compile(self, mode: str = "default", backend: str = "inductor") -> "MGTModel":
        """Compiled by torch.compile when it is first evaluated (see Compile); replaces the settings of one before."""
        return self.with_patch(Compile(mode, backend))

    def with_cuda_graphs(self) -> "MGTModel":
        """Evaluations recorded as CUDA graphs when first made, and launched from then on (see CUDAGraphs)."""
        return self.with_patch(CUDAGraphs())

    def with_self_guidance(
        self, branch: Branch, scale: float = 1.0, start: float = 0.0, end: float = 1.0
    ) -> "MGTModel":
        """Self-Guidance with a branch trained for this model (see SelfGuidance); replaces one attached before."""
        return self.with_patch(SelfGuidance(branch, scale, start, end))

    def run_patches(self) -> list[RunPatch]:
        """The patches for one run, in the order in which they act."""
        return [patch.begin(self.network) for patch in in_turn(self.patches)]

    def with_lora(self, lora: LoRA | str | PathLike, strength: float = 1.0) -> "MGTModel":
        """`lora` (or its file) beside the layers, after those attached before; the weights are shared.

        strength: what its update is multiplied by; 0 gives this model as it is, below 0 takes the update away.
        Raises MGTError for a file that cannot be read, and for one that was made for another model.
        """
        strength = finite_number("strength", strength, -100, 100)
        lora = lora if isinstance(lora, LoRA) else LoRA.load(lora)
        network, added = adapt(self.network, lora, strength)
        if lora.text:
            log.warning("lora %s holds %d tensors for a text encoder, which are left out", lora.name, lora.text)
        if strength == 0:
            return self
        attached = AttachedLoRA(lora.name, strength, lora.layers)
        placement = self.placement.joined(network, added) if self.placement else None
        return replace(self, network=network, placement=placement, loras=(*self.loras, attached))

    def parts(self) -> list[object]:
        """What has been attached, in the order in which it acts; how the weights are packed first."""
        weights = () if self.quantization is None else (self.quantization,)
        return [*weights, *self.loras, *in_turn(self.patches), *self.modifiers]

    def attached(self) -> list[str]:
        """The same, one line each."""
        return [repr(part) for part in self.parts()]

    def guidances(self, cfg: float, steps: int) -> list[float]:
        """Guidance of every step of a run that asks for `cfg`."""
        values = [cfg] * steps
        for patch in in_turn(self.patches):
            values = [patch.guidance(value, index, steps) for index, value in enumerate(values)]
        return values

    def timestep(self, tokens: Tensor, index: int, steps: int) -> Tensor:
        """[B] float32, what the network is told at step `index` of `steps`, on tokens [B, ...] (see timestep_rule)."""
        if self.timestep_rule == "mask_ratio":
            return (tokens == self.mask_id).flatten(1).float().mean(1)
        told = told_index(self.timestep_rule, float(index), steps)
        return torch.full((len(tokens),), told, device=tokens.device)

    def with_timestep_rule(self, rule: str) -> "MGTModel":
        return replace(self, timestep_rule=rule)

    def with_placement(self, placement: Placement) -> "MGTModel":
        return replace(self, placement=placement)

    @property
    def companions(self) -> "list[MGTModel]":
        """Models that its patches have evaluated beside it, and theirs."""
        brought = [each for patch in self.patches for each in patch.companions]
        return [model for each in brought for model in (each, *each.companions)]

    def acquire(self, memory: int = 0) -> torch.device:
        """Device to compute on, with the weights there, and those of its companions."""
        models = (self, *self.companions)
        return acquired_together([each.placement or Resident(each.network) for each in models], memory)

    def room(self) -> Room:
        """Memory of the device to compute on."""
        return room_of(self.placement, self.network)

    @property
    def device(self) -> torch.device:
        """What it computes on."""
        return self.room().device

    def grid_for(self, height: int, width: int) -> tuple[int, int]:
        """Token grid of an image. height, width in pixels; raises MGTError for sizes the model cannot hold."""
        if self.makes != PICTURES:
            raise MGTError(f"this model makes {self.makes}, not pictures: its tokens are those of empty_sound")
        unit, height, width = self.side_unit, plain_whole(height), plain_whole(width)
        if self.only_size not in (None, (height, width)):
            own = " x ".join(map(str, self.only_size))
            raise MGTError(
                f"height x width is {height!r} x {width!r} pixels; this model makes {own} alone{self.network.why(GRID)}"
            )
        for name, value in (("height", height), ("width", width)):
            if not is_side(value, unit, unit, LONGEST_SIDE):
                raise MGTError(
                    f"{name} is {value!r} pixels; this model takes multiples of {unit} from {unit} to {LONGEST_SIDE}"
                    f"{told_nearest(value, unit, unit, LONGEST_SIDE)}"
                )
        return height // self.pixels_per_token, width // self.pixels_per_token

    @property
    def side_unit(self) -> int:
        """Pixels that both sides of a picture must be a multiple of."""
        return self.pixels_per_token * self.grid_multiple

    @property
    def only_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of all pictures that it makes; None where others are possible."""
        if not self.network.only_trained_grid:
            return None
        height, width = (side * self.pixels_per_token for side in self.network.trained_grid)
        return height, width

    def good_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels that it takes, nearest to these."""
        return self.only_size or scaled_to((height, width), self.side_unit, self.side_unit, LONGEST_SIDE)

    def told_size(self, grid: tuple[int, int]) -> str:
        """Of what a grid stands for: pixels, or seconds."""
        if self.sample_rate:
            return f"{grid[1] * self.pixels_per_token / self.sample_rate:.4g} s"
        return f"{grid[1] * self.pixels_per_token} x {grid[0] * self.pixels_per_token}"

    def size_note(self, grid: tuple[int, int]) -> str | None:
        """One sentence for a grid that is not the one of training, where quality is known to fall: longer sides
        have positions that were never seen, and on shorter ones things are drawn as large as ever."""
        size = (grid[0] * self.pixels_per_token, grid[1] * self.pixels_per_token)
        if self.makes == SOUND and grid[1] > (trained := self.network.trained_grid)[1]:
            return f"{self.told_size(grid)}: trained at {self.told_size(trained)}, the end may fall apart"
        if self.trained_size in (None, size) or self.network.is_trained_grid(grid):
            return None
        (height, width), (own_height, own_width) = size, self.trained_size
        # Short, since it stands under a node of two lines.
        return f"{width} x {height} pixels: trained at {own_width} x {own_height}, things may repeat or fall apart"

    def complete(self, condition: ConditionInput, batch: int, grid: tuple[int, int], role: str) -> ConditionInput:
        """What the network reads of `condition`, for `batch` images on `grid`; micro-conditions are filled from
        the grid when unset.

        Raises MGTError when it was made for another model or another number of images.
        """
        if isinstance(condition, Conditions):
            return condition.map(lambda each: self.complete(each, batch, grid, role))
        if not isinstance(condition, Condition):
            raise MGTError(
                f"the {role} condition is {type(condition).__name__}; expected a Condition, as text.encode gives"
            )
        read = (*self.network.condition_fields, *self.network.condition_options)
        if condition.micro is not None and "micro" not in read:
            log.warning("the %s condition carries micro-conditions, which this model does not read", role)
        if condition.micro is None and "micro" in read:
            size = (grid[0] * self.pixels_per_token, grid[1] * self.pixels_per_token)
            condition = condition.with_micro(micro_conditions(size).expand(condition.batch, -1))
        self.network.check_condition(condition, role)
        return Condition(**{name: getattr(condition, name) for name in read}).expand(batch)

    @torch.inference_mode()
    def logits(self, tokens: Tensor, condition: Condition, timestep: Tensor | float) -> Tensor:
        """Plain network output, before guidance and modifiers.

        tokens [B, h, w] long, timestep [1] or [B] (the unit follows `timestep_rule`)
        -> [B, h, w, codebook_size] float32. Raises MGTError for tokens or a condition that do not fit.
        """
        TokenState(tokens, torch.zeros_like(tokens, dtype=torch.bool), self.mask_id, self.codebook_size).check()
        self.network.check_grid(tuple(tokens.shape[1:]))
        condition = self.complete(condition, tokens.shape[0], tuple(tokens.shape[1:]), "given")
        device = self.acquire()
        prepared = self.network.prepare(condition.to(device), tuple(tokens.shape[1:]))
        time = timestep if isinstance(timestep, Tensor) else plain_number(timestep)
        time = torch.as_tensor(time, dtype=torch.float32, device=device).reshape(-1)
        if time.shape[0] not in (1, tokens.shape[0]):
            raise MGTError(
                f"timestep holds {time.shape[0]} values for {tokens.shape[0]} images; give 1 or {tokens.shape[0]}"
            )
        return self.network.head(self.network.features(tokens.to(device), time, prepared).float())
