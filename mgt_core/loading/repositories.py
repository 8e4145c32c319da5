"""Where published models are to be had: what to say to someone whose workflow names one that is not there.

One entry a model, by the name that it has in a widget once it lies where it belongs. (How architectures hold their
weights is in published.py.)"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..conditioning.clip import LAION
from ..errors import join_some

OURS, TEXT_ENCODERS = "mgt", "text_encoders"  # folders below ComfyUI's models
ENCODER = f"{LAION.split('/')[1]}.safetensors"
PARTS = ("transformer", "vqvae", "text_encoder", "tokenizer", "scheduler")
EDITMGT = ("editmgt", "vqvae", "text_encoder", "tokenizer", "llm_encoder", "scheduler")
LENT_ENCODER = tuple(part for part in PARTS if part != "text_encoder")


@dataclass(frozen=True)
class Repository:
    """name: in a widget. source: its repository at huggingface.co. folders, files: those needed of it; none for all.
    folder: where it belongs, below models. alone: whether it is one file there. also: files of others, with their
    repositories, that lie beside it. text_encoder: the name of the one that its authors load, "" for its own or none.
    base: the model that lends what it lacks. unpacked: whether its file is an archive. inside: what comes from other
    repositories into folders of its own, by the names of these."""

    name: str
    source: str
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folder: str = OURS
    alone: bool = False
    also: tuple[tuple[str, str], ...] = ()
    text_encoder: str = ""
    base: str = ""
    unpacked: bool = False
    inside: tuple[tuple[str, str], ...] = ()

    def place(self, root: Path) -> Path:
        """Where it goes below the folder of its kind: a file alone right there, all else into a folder of its name."""
        return root if self.alone and not self.is_renamed else root / self.name

    def what(self, own_encoder: bool = False) -> str:
        """What is to be had of it. own_encoder: though its authors load another text encoder."""
        folders = PARTS if own_encoder and self.folders == LENT_ENCODER else self.folders
        named = (("the folders " if len(folders) > 1 else "the folder ") + ", ".join(folders)) if folders else ""
        return named or join_some(self.files)

    def told(self, roots: Callable[[str], Path], own_encoder: bool = False) -> str:
        """What to do, as it goes on after "download". roots: the folder of a kind, below models."""
        what, place = self.what(own_encoder), self.place(roots(self.folder))
        have = f"{what} of {self.source}" if self.files else f"{self.source}{what and f' ({what})'}"
        others = " and ".join(f"{file} of {source}" for file, source in self.also)
        if self.unpacked:
            return f"{have}, unpack it into {place}, and put {others} there too"
        beside, lent = f" and {others}" if others else "", f", with {self.base} as base" if self.base else ""
        inner = " and ".join(f"{what} into its folder {folder}" for folder, what in self.inside)
        return f"{have}{beside} {'as' if self.is_renamed else 'into'} {place}{lent}{inner and f', {inner}'}"

    @property
    def is_renamed(self) -> bool:
        return self.alone and self.name not in self.files


MAGVIT = "showlab/magvitv2"  # the codec of Show-o and MMaDA
MAGNET = ("state_dict.bin", "compression_state_dict.bin")
T5 = ("config.json", "model.safetensors", "tokenizer.json")
SOUNDS = {  # MAGNeT, and the T5 that each reads prompts with; weights under CC-BY-NC
    **dict.fromkeys((f"magnet-{size}-{length}secs" for size in ("small", "medium") for length in (10, 30)), "t5-base"),
    **dict.fromkeys(("audio-magnet-small", "audio-magnet-medium"), "t5-large"),
}
IMAGENET = ("384_large", "256_tiny", "256_small", "256_base")  # transformers of Halton-MaskGIT
REPOSITORIES = (
    Repository("DiMO", "Yuanzhi/DiMO", ("meissonic",), base="Meissonic"),  # first, since it lies in a folder meissonic
    Repository("Meissonic", "MeissonFlow/Meissonic", LENT_ENCODER, text_encoder=ENCODER),
    Repository("editmgt", "WeiChow/EditMGT", EDITMGT),
    Repository("Monetico", "Collov-Labs/Monetico", PARTS),
    Repository("lumina-dimoo", "Alpha-VLLM/Lumina-DiMOO"),
    Repository("amused-512", "amused/amused-512", PARTS),
    Repository("amused-256", "amused/amused-256", PARTS),
    Repository("muddit", "MeissonFlow/Muddit", ("1024", "512"), base="Meissonic"),
    Repository("maskfocus-geneval", "zghhui/Meissonic_MaskFocus_GenEval", text_encoder=ENCODER, base="Meissonic"),
    Repository("maskfocus", "zghhui/Meissonic_MaskFocus_HPS", text_encoder=ENCODER, base="Meissonic"),
    Repository(
        "show-o",
        "showlab/show-o-512x512",
        inside=((MAGVIT.split("/")[1], MAGVIT), ("phi-1_5", "tokenizer and config.json of microsoft/phi-1_5")),
    ),
    Repository("mmada", "Gen-Verse/MMaDA-8B-Base", inside=((MAGVIT.split("/")[1], MAGVIT),)),
    Repository(MAGVIT.split("/")[1], MAGVIT),
    *(
        Repository(
            f"ImageNet_{size}.pth",
            "llvictorll/Halton-MaskGIT",
            files=(f"ImageNet_{size}.pth",),
            alone=True,
            also=(("vq_ds16_c2i.pt", "FoundationVision/LlamaGen"),),
        )
        for size in IMAGENET
    ),
    Repository("vq_ds16_c2i.pt", "FoundationVision/LlamaGen", files=("vq_ds16_c2i.pt",), alone=True),
    Repository(
        "UnlockMGM_imagenet_256",
        "HURJIWAN/UnlockMGM",
        files=("UnlockMGM_imagenet_256.zip",),
        also=(("maskgit-vqgan-imagenet-f16-256.bin", "fun-research/TiTok"),),
        unpacked=True,
    ),
    Repository(ENCODER, LAION, files=("model.safetensors",), folder=TEXT_ENCODERS, alone=True),
    *(Repository(name, f"facebook/{name}", files=MAGNET, text_encoder=text) for name, text in SOUNDS.items()),
    *(Repository(name, f"google-t5/{name}", files=T5, folder=TEXT_ENCODERS) for name in dict.fromkeys(SOUNDS.values())),
)


def published(name: str) -> Repository | None:
    """The one that a choice means: by its name, in whatever folder it was, or by that of its repository."""
    parts = [part.casefold() for part in str(name).replace("\\", "/").split("/") if part]
    for known in REPOSITORIES:
        names = {known.name.casefold(), known.name.casefold().removesuffix(".safetensors")}
        names.add(known.source.split("/")[1].casefold() if not known.alone or known.folder != OURS else "")
        if not names.isdisjoint(parts):
            return known
    return None
