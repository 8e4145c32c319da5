"""Stand-ins for ComfyUI's nodes that load and save sounds, for runs without ComfyUI."""

from __future__ import annotations

import logging

from .images import Folders, found
from .naming import free_paths, in_batch, judged, target
from .problems import Json, RunError
from .sounds import ENDINGS, FLAC, WAV, Kind, check_audio, encoded, in_16_bits, read_sound, soundfile
from .writing import save_new, sweep

log = logging.getLogger(__name__)

NOTED = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
PREFIX = ("STRING", {"default": "audio/ComfyUI"})
QUALITIES = {"V0": 0, "128k": 128, "320k": 320}  # kbit/s of MP3; 0 for what it takes


def make_nodes(folders: Folders) -> tuple[dict[str, type], dict[str, str]]:
    """Classes and display names of the stand-ins, bound to these folders."""

    class SaveAudio:
        RETURN_TYPES = ("AUDIO",)  # on newer hosts
        RETURN_NAMES = ("audio",)
        FUNCTION = "save"
        OUTPUT_NODE = True
        CATEGORY = "audio"
        output = folders.output

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"audio": ("AUDIO",), "filename_prefix": PREFIX}, "hidden": NOTED}

        @classmethod
        def VALIDATE_INPUTS(cls, filename_prefix) -> bool | str:
            return judged(cls.output, filename_prefix)

        def save(self, audio, filename_prefix="audio/ComfyUI", prompt=None, extra_pnginfo=None) -> Json:
            return self.saved(audio, filename_prefix, {"prompt": prompt, **(extra_pnginfo or {})}, FLAC)

        def saved(self, audio, filename_prefix: str, notes: Json, kind: Kind) -> Json:
            waveform, rate = check_audio(audio)
            if soundfile() is None:
                kind = _without_package(kind)
            if (peak := float(waveform.abs().max())) > 1:
                log.warning("The sound reaches %.2f; what is beyond -1 to 1 is cut off, as ComfyUI does", peak)
            start = target(self.output, str(filename_prefix), 0, 0)
            start.parent.mkdir(parents=True, exist_ok=True)
            sweep(start.parent)
            paths, saved = free_paths(start, kind.ending), []
            for place, sound in enumerate(waveform):
                data = encoded(in_16_bits(sound), rate, kind, notes)
                saved.append(save_new(in_batch(paths, place), lambda stream, data=data: stream.write(data)))
            return {"ui": {"saved": saved}, "result": (audio,)}

    class SaveAudioMP3(SaveAudio):
        @classmethod
        def INPUT_TYPES(cls) -> Json:
            quality = (list(QUALITIES), {"default": "V0"})
            required = {"audio": ("AUDIO",), "filename_prefix": PREFIX, "quality": quality}
            return {"required": required, "hidden": NOTED}

        def save(self, audio, filename_prefix="audio/ComfyUI", quality="V0", prompt=None, extra_pnginfo=None) -> Json:
            if quality not in QUALITIES:
                raise RunError(f"quality is {str(quality)[:40]!r}; accepted are {', '.join(QUALITIES)}")
            kind = Kind("MP3", ".mp3", {"format": "MP3", **bitrate(QUALITIES[quality], check_audio(audio)[1])})
            return self.saved(audio, filename_prefix, {}, kind)

    class PreviewAudio(SaveAudio):
        VALIDATE_INPUTS = None

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"audio": ("AUDIO",)}, "hidden": NOTED}

        def save(self, audio, prompt=None, extra_pnginfo=None) -> Json:
            return super().save(audio, "temp/ComfyUI_temp", prompt, extra_pnginfo)

    class LoadAudio:
        RETURN_TYPES = ("AUDIO",)
        FUNCTION = "load"
        CATEGORY = "audio"

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"audio": (folders.listed(ENDINGS), {"audio_upload": True})}}

        @classmethod
        def VALIDATE_INPUTS(cls, audio) -> bool | str:
            try:
                found(folders, audio, "audio file", "sounds")
            except RunError as error:
                return str(error)
            return True

        def load(self, audio) -> tuple:
            samples, rate = read_sound(found(folders, audio, "audio file", "sounds"), audio)
            return ({"waveform": samples[None], "sample_rate": rate},)

    classes = {cls.__name__: cls for cls in (LoadAudio, SaveAudio, SaveAudioMP3, PreviewAudio)}
    shown = {"LoadAudio": "Load Audio", "SaveAudio": "Save Audio (FLAC)", "PreviewAudio": "Preview Audio"}
    return classes, {**shown, "SaveAudioMP3": "Save Audio (MP3)"}


def bitrate(kilobits: int, rate: int) -> Json:
    """The options by which the package soundfile writes MP3 of so many kbit/s, or the next that the sample rate has.
    Its levels go from the highest bitrate of a rate, 0, to the lowest, 1."""
    if not kilobits:
        return {"bitrate_mode": "VARIABLE", "compression_level": 0.0}
    high, low = (320, 32) if rate >= 32000 else (160, 8)  # MPEG-1 and MPEG-2
    return {"bitrate_mode": "CONSTANT", "compression_level": max(0, high - kilobits) / (high - low)}


def _without_package(kind: Kind) -> Kind:
    """WAV in place of FLAC. Raises RunError for a kind that nothing stands for."""
    if kind is not FLAC:
        raise RunError(f"{kind.name} takes the package soundfile: pip install soundfile, or use Save Audio (FLAC)")
    log.warning("Sounds are saved as WAV, without their workflow; for FLAC install the package soundfile")
    return WAV
