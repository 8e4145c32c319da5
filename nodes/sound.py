"""Nodes of sound: the tokens that sampling starts from, and what they sound like."""

from .. import mgt_core
from ..mgt_core.sound_level import LEVELS, levelled
from ..mgt_core.types import SOUND
from . import host
from .tokens import TokenNode, say_of_size
from .types import (
    AUDIO,
    IMAGE,
    MGT_CODEC,
    audio_input,
    combo,
    integer,
    model_input,
    node,
    number,
    socket,
    switch,
    tokens_input,
)

LONGEST = 3600.0  # seconds of a widget
CODEC = "The codec, from MGT Load Model; it must be that of the model"


def seconds_input(tooltip: str, default: float = 0.0):
    return number(tooltip, default, 0.0, LONGEST, 0.1)


@node("MGT Empty Sound Tokens")
class MGTEmptySound(TokenNode):
    FOR = SOUND
    INSTEAD = "MGT Empty Tokens"
    DESCRIPTION = "Masked tokens for each sound, a row for every code book: where text to sound starts."
    SEARCH_ALIASES = ["empty latent audio", "audio", "music", "seconds", "duration", "batch"]
    OUTPUT_TOOLTIPS = ("Token grids of code books and frames with every cell masked.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "seconds": seconds_input(
                    "How long each sound is. 0: as long as the model was trained at, which is where it is best; "
                    "the end of a longer one may fall apart, and the node says so."
                ),
                "batch_size": integer(
                    "How many sounds to make at once. Sound i of a batch is the sound that seed + i gives alone, if "
                    "their prompts are equally long.",
                    1,
                    1,
                    4096,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def make(self, model, seconds: float, batch_size: int, unique_id=None):
        tokens = mgt_core.empty_sound(model, seconds or trained_seconds(model), batch_size)
        say_of_size(model, tokens, unique_id)
        return (tokens,)


@node("MGT Encode Audio")
class MGTEncodeAudio(TokenNode):
    FOR = SOUND
    INSTEAD = "MGT Encode Image"
    DESCRIPTION = (
        "Turns sound into tokens: to be continued (MGT Extend Sound), made anew in a range of time (MGT Mask Sound), "
        "or varied as a whole."
    )
    SEARCH_ALIASES = ["vae encode audio", "audio to audio", "continuation", "audio prompt", "melody", "strength"]
    OUTPUT_TOOLTIPS = ("The tokens of the sounds, for MGT Sample, MGT Mask Sound or MGT Extend Sound.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "codec": socket(MGT_CODEC, f"{CODEC}."),
                "audio": audio_input(
                    "The sounds, such as those of Load Audio. Cut long ones before: Trim Audio Duration."
                ),
                "strength": number(
                    "How much of it is made anew when it goes straight to MGT Sample or through MGT Mask Sound: the "
                    "share of the steps that MGT Sample does. 1 starts from nothing, 0 keeps the sound. MGT Extend "
                    "Sound keeps all of it, whatever this is.",
                    0.6,
                    0.0,
                    1.0,
                    0.05,
                ),
                "convert": switch(
                    "Mix channels down to one and resample to the rate of the model. Off, sound that is not so is "
                    "refused.",
                    True,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def encode(self, model, codec, audio, strength: float, convert: bool, unique_id=None):
        wave, rate = audio["waveform"], int(audio["sample_rate"])
        if convert:
            wave, rate = mgt_core.resampled(mgt_core.as_mono(wave), rate, codec.sample_rate), codec.sample_rate
        tokens = mgt_core.encode_sound(model, codec, wave, rate, strength).to(host.intermediate_device())
        say_of_size(model, tokens, unique_id)
        return (tokens,)


@node("MGT Mask Sound")
class MGTMaskSound(TokenNode):
    FOR = SOUND
    INSTEAD = "MGT Mask Tokens"
    DESCRIPTION = "Inpainting in time: frees a range of a sound to be made anew and fixes the rest."
    SEARCH_ALIASES = ["inpaint audio", "repaint", "time range", "replace", "music"]
    OUTPUT_TOOLTIPS = ("The tokens, those of the range free in every code book, for MGT Sample.",)
    FUNCTION = "mask"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "tokens": tokens_input("The tokens of the sounds, from MGT Encode Audio or MGT Sample."),
                "start": seconds_input("Where the range begins, in seconds."),
                "end": seconds_input("Where it ends, in seconds; 0 for the end of the sound."),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def mask(self, model, tokens, start: float, end: float, unique_id=None):
        masked = mgt_core.mask_sound(model, tokens, start, end or seconds_of(model, tokens.grid[1]))
        free = masked.to_fill[0].any(0)
        host.show_text(
            f"{told(model, int(free.sum()))} of {told(model, len(free))} are free to be made anew.", unique_id
        )
        return (masked,)


@node("MGT Extend Sound")
class MGTExtendSound(TokenNode):
    FOR = SOUND
    INSTEAD = "MGT Pad Tokens"
    DESCRIPTION = "Continuation: adds empty time before or after a sound and fixes what it has."
    SEARCH_ALIASES = ["continue", "continuation", "outpaint audio", "prompt", "longer", "music"]
    OUTPUT_TOOLTIPS = ("The longer token grids, for MGT Sample.",)
    FUNCTION = "extend"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "tokens": tokens_input("The tokens of the sounds, from MGT Encode Audio or MGT Sample."),
                "before": seconds_input("Seconds to add before it."),
                "after": seconds_input(
                    "Seconds to add after it. The whole should be no longer than what the model was trained at.", 5.0
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def extend(self, model, tokens, before: float, after: float, unique_id=None):
        longer = mgt_core.extend_sound(model, tokens, before, after)
        say_of_size(model, longer, unique_id)
        return (longer,)


@node("MGT Decode Audio")
class MGTDecodeAudio:
    FOR = SOUND
    INSTEAD = "MGT Decode"
    DESCRIPTION = "Turns tokens into sound, for ComfyUI's Save Audio and Preview Audio."
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["vae decode audio", "sound", "music", "wav", "loudness", "normalize", "clipping"]
    RETURN_TYPES = (AUDIO,)
    RETURN_NAMES = ("audio",)
    OUTPUT_TOOLTIPS = ("The sounds, of one channel.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("Token grids with every cell filled, from MGT Sample."),
                "codec": socket(MGT_CODEC, f"{CODEC} which made the tokens."),
                "level": combo(
                    list(LEVELS),
                    "How loud. Codecs may go beyond full scale, where files of sound are cut off: no clipping turns "
                    "down those sounds that do, as a whole; full scale turns every sound up or down until its loudest "
                    "moment is just there; as it is leaves them alone.",
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def decode(self, tokens, codec, level: str, unique_id=None):
        if cost := codec.decode_note(tokens.grid):
            host.show_text(cost, unique_id)
        wave, note = levelled(codec.decode(tokens).to(host.intermediate_device()), level)
        if note:  # in place of what was shown before
            host.show_text("\n".join(filter(None, (cost, note))), unique_id)
        return ({"waveform": wave, "sample_rate": codec.sample_rate},)


@node("MGT Spectrogram")
class MGTSpectrogram:
    DESCRIPTION = "Draws sounds: which frequencies are heard when, quiet ones dark and loud ones bright."
    CATEGORY = "MGT/inspect"
    SEARCH_ALIASES = ["audio", "frequencies", "spectrum", "stft", "waveform", "visualize"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("A picture of every sound of the batch, with the axes of time and frequency.",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"audio": audio_input("The sounds, from MGT Decode Audio or any other node of sound.")}}

    def draw(self, audio):
        from ..mgt_core.views.sound import spectrogram

        image = spectrogram(audio["waveform"], int(audio["sample_rate"]))
        return (image.to(host.intermediate_device()),)


def seconds_of(model, frames: int) -> float:
    return frames * model.pixels_per_token / model.sample_rate


def trained_seconds(model) -> float:
    return seconds_of(model, model.network.trained_grid[1])


def told(model, frames: int) -> str:
    return model.told_size((1, frames))
