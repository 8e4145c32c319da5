"""Masked generative transformers: load a model, choose how it decodes, get tokens and images.

Example:
    import mgt_core
    pipe = mgt_core.load("demo")
    positive, negative = pipe.text.encode(["a red heart"]), pipe.text.encode([""])
    tokens = mgt_core.empty_tokens(pipe, height=64, width=64, batch=1)
    tokens = mgt_core.sample(pipe.model, tokens, positive, negative, steps=16, cfg=3.0, seed=0)
    image = pipe.codec.decode(tokens)
"""

from . import interrupted as interrupted  # first: the imports below take seconds
from . import register_all as register_all
from .adapters.lora import LoRA
from .backbones.branch import fresh_branch
from .captioning.caption import caption
from .codecs.base import Codec
from .codecs.encodec import EnCodec
from .codecs.token_codec import TokenCodec
from .conditioning.objects import object_words
from .conditioning.parts import ConditionPart, Conditions
from .conditioning.picture_prompts import PicturePrompts, picture_prompts
from .conditioning.text import TextEncoder
from .editing import encode_image, mask_tokens, pad_image, pad_tokens, paste_back, stretched, vary_tokens
from .errors import MGTError, whole_number
from .loading.bundle import load, load_text_encoder
from .loading.pipeline import Pipeline, model_of
from .model import MGTModel
from .modifiers.base import Modifier
from .modifiers.differential import DifferentialSampling
from .modifiers.entropy import EntropyTemperature
from .modifiers.min_p import MinP
from .modifiers.noise import NoiseRegularization
from .modifiers.truncation import TopKTopP
from .patches.base import Patch
from .patches.compile import Compile
from .patches.cuda_graphs import CUDAGraphs
from .patches.guidance_reuse import GuidanceReuse
from .patches.guidance_schedule import GuidanceSchedule
from .patches.ml_cache import MLCache
from .patches.reference import ReferencePicture
from .patches.rescoring import Rescoring
from .patches.self_guidance import SelfGuidance
from .patches.stage_steps import StageSteps
from .patches.step_skipping import StepSkipping
from .patches.token_cache import TokenCache
from .patches.token_merging import TokenMerging
from .pulse import interruptible
from .quantization.calibration import Calibration, CalibrationRun
from .quantization.pictures import picture_tokens
from .quantization.pipeline import (
    calibration_conditions,
    picture_conditions,
    quantize_codec,
    quantize_pipeline,
    quantize_text,
)
from .quantization.quantize import quantize
from .quantization.schemes import FP8, SCHEMES, W4A8, W4A16, W8A8, W8A8FP8, W8A16, Scheme
from .quantization.storage import save_bundle
from .quantization.surgery import replaced
from .registry import BACKBONES, CODECS, MODIFIERS, PATCHES, REWARDS, SAMPLERS, SCHEDULES, TEXT_ENCODERS
from .rewards.base import Reward
from .rewards.colour import ColourAgreement
from .rewards.mask import MaskAgreement
from .rewards.measured import Measured
from .rewards.prompt import PromptAgreement
from .rewards.scorers import load_scorer
from .rewards.weighted import WeightedSum
from .sample import Settled, sample, settle
from .samplers.base import ConfidenceSampler, Sampler
from .samplers.best_of import BestOf
from .samplers.entropy_bounded import EntropyBounded
from .samplers.first_hitting import FirstHitting
from .samplers.fixed_order import FixedOrder
from .samplers.gibbs import GibbsCorrector
from .samplers.klass import KLASS
from .samplers.magnet import Spans
from .samplers.maskgit import MaskGIT
from .samplers.moment import MomentSampler
from .samplers.momentum import Momentum
from .samplers.one_step import OneStep
from .samplers.orders import ORDERS
from .samplers.particles import Particles
from .samplers.path_planning import PathPlanning
from .samplers.remdm import ReMDM
from .samplers.token_editing import TokenEditing
from .samplers.uncage import Uncage
from .samplers.zsampling import MaskedZSampling, ZSampling
from .schedules.base import MaskSchedule
from .schedules.curve import CustomCurve
from .self_guidance.files import load_branch
from .sound import as_mono, empty_sound, encode_sound, extend_sound, frames_in, mask_sound, resampled
from .streaming import Streamed
from .types import MOST_IMAGES, UNCONDITIONAL, Condition, Step, TokenState, empty_state, micro_conditions

Ordered = FixedOrder  # its first name

list_schedules = SCHEDULES.names
list_samplers = SAMPLERS.names
list_modifiers = MODIFIERS.names
list_patches = PATCHES.names
list_rewards = REWARDS.names
list_backbones = BACKBONES.names
list_quantizations = SCHEMES.names


def empty_tokens(pipe: Pipeline | MGTModel, height: int, width: int, batch: int = 1) -> TokenState:
    """A state with every cell masked. height, width in pixels; raises MGTError for sizes the model cannot hold."""
    model = model_of(pipe, "empty_tokens")
    batch = whole_number("batch", batch, 1, MOST_IMAGES)
    return empty_state(batch, model.grid_for(height, width), model.mask_id, model.codebook_size)


__all__ = [
    "BACKBONES",
    "BestOf",
    "CODECS",
    "Calibration",
    "CalibrationRun",
    "Codec",
    "ColourAgreement",
    "CUDAGraphs",
    "Compile",
    "Condition",
    "ConditionPart",
    "Conditions",
    "ConfidenceSampler",
    "CustomCurve",
    "DifferentialSampling",
    "EnCodec",
    "EntropyBounded",
    "EntropyTemperature",
    "FP8",
    "FirstHitting",
    "FixedOrder",
    "GibbsCorrector",
    "GuidanceReuse",
    "GuidanceSchedule",
    "KLASS",
    "LoRA",
    "MGTError",
    "MGTModel",
    "MODIFIERS",
    "MaskAgreement",
    "MaskGIT",
    "MaskSchedule",
    "MaskedZSampling",
    "Measured",
    "MinP",
    "Modifier",
    "MomentSampler",
    "Momentum",
    "NoiseRegularization",
    "ORDERS",
    "OneStep",
    "Ordered",
    "PATCHES",
    "Particles",
    "Patch",
    "PathPlanning",
    "PicturePrompts",
    "Pipeline",
    "ReMDM",
    "ReferencePicture",
    "Rescoring",
    "PromptAgreement",
    "REWARDS",
    "Reward",
    "SAMPLERS",
    "SCHEDULES",
    "SCHEMES",
    "Sampler",
    "Scheme",
    "SelfGuidance",
    "Settled",
    "Spans",
    "StageSteps",
    "Step",
    "StepSkipping",
    "TEXT_ENCODERS",
    "TextEncoder",
    "MLCache",
    "TokenCache",
    "TokenCodec",
    "TokenEditing",
    "TokenMerging",
    "TokenState",
    "TopKTopP",
    "UNCONDITIONAL",
    "Uncage",
    "W4A16",
    "W4A8",
    "W8A16",
    "W8A8",
    "W8A8FP8",
    "WeightedSum",
    "ZSampling",
    "as_mono",
    "calibration_conditions",
    "caption",
    "empty_sound",
    "empty_state",
    "empty_tokens",
    "encode_image",
    "encode_sound",
    "extend_sound",
    "frames_in",
    "fresh_branch",
    "interruptible",
    "list_backbones",
    "list_modifiers",
    "list_patches",
    "list_quantizations",
    "list_rewards",
    "list_samplers",
    "list_schedules",
    "load",
    "load_branch",
    "load_scorer",
    "load_text_encoder",
    "mask_sound",
    "mask_tokens",
    "micro_conditions",
    "object_words",
    "pad_image",
    "pad_tokens",
    "paste_back",
    "picture_prompts",
    "picture_conditions",
    "picture_tokens",
    "Streamed",
    "quantize",
    "quantize_codec",
    "quantize_pipeline",
    "quantize_text",
    "replaced",
    "resampled",
    "sample",
    "save_bundle",
    "settle",
    "stretched",
    "vary_tokens",
]
