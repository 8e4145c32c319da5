"""What a sweep asks for: prompts, seeds and settings, checked before any work, and the job of each picture."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mgt_core.errors import MGTError, join_some, reason, whole_number
from mgt_core.placement import FLOAT_DTYPES
from mgt_core.plain import whole_text
from mgt_core.settings import hold

from ..kept import json_in
from .settings import check_settings, plain_values

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FLOAT_DTYPES}
PARTS = ("transformer", "text_encoder", "tokenizer", "codec", "base")  # of `load`, which may come from elsewhere

LARGEST_BATCH = 1024
LARGEST_SWEEP = 200_000  # pictures; at one a second they take two days, and their rows a gigabyte
LONGEST_TEXT = 10_000  # characters of a prompt, of which text encoders read a few hundred
LONGEST_PATH = 4096  # characters, as Linux has it
WORD_BYTES = 160  # of a name's words, so that a file's whole name stays under the 255 that file systems allow


@dataclass(frozen=True)
class Spec:
    """A sweep. settings: by name. size: (height, width) in pixels, the model's own by default. parts: of the model that
    come from elsewhere, by the names of PARTS. batch: pictures of one setting that are made together, at most."""

    prompts: list[str]
    settings: dict[str, dict] = field(default_factory=lambda: {"default": {}})
    seeds: list[int] = field(default_factory=lambda: [0])
    model: str = "demo"
    dtype: str | None = None
    negative: str = ""
    size: list[int] | None = None
    parts: dict[str, str] = field(default_factory=dict)
    batch: int = 1

    def __post_init__(self):
        """Raises MGTError for what no run could use."""
        hold(self, batch=whole_number("the batch of the sweep", self.batch, 1, LARGEST_BATCH))
        check_count(self)
        if not isinstance(self.prompts, list) or not self.prompts or not all(isinstance(p, str) for p in self.prompts):
            raise MGTError(f"the sweep's prompts are {self.prompts!r}; expected a list of one or more texts")
        hold(self, prompts=[whole_text(prompt) for prompt in self.prompts])
        hold(self, **{name: plain_values(getattr(self, name)) for name in ("seeds", "settings", "size")})
        if not isinstance(self.seeds, list) or not self.seeds:
            raise MGTError(f"the sweep's seeds are {self.seeds!r}; expected a list of one or more whole numbers")
        hold(self, seeds=[whole_number("a seed of the sweep", seed, 0, 2**64 - 1) for seed in self.seeds])
        if not isinstance(self.negative, str):
            raise MGTError(f"the sweep's negative prompt is {self.negative!r}; expected a text")
        hold(self, negative=whole_text(self.negative))
        if self.dtype is not None and (not isinstance(self.dtype, str) or self.dtype not in DTYPES):
            raise MGTError(f"the sweep's dtype is {self.dtype!r}; accepted are {', '.join(DTYPES)}")
        if not isinstance(self.settings, dict) or not self.settings:
            raise MGTError(f"the sweep's settings are {self.settings!r}; expected settings by name")
        for name, values in self.settings.items():
            check_settings(name, values)
        if self.size is not None:
            if not isinstance(self.size, list) or len(self.size) != 2:
                raise MGTError(f"the sweep's size is {self.size!r}; expected [height, width] in pixels")
            hold(self, size=[whole_number("the sweep's size", side, 1, 16384) for side in self.size])
        if not isinstance(self.parts, dict) or any(name not in PARTS for name in self.parts):
            raise MGTError(f"the sweep's parts are {self.parts!r}; expected paths by name of {', '.join(PARTS)}")
        check_texts(self)

    @classmethod
    def read(cls, file: Path) -> "Spec":
        """Raises MGTError for a file that is missing or holds something else."""
        try:
            values = json_in(file)
        except OSError:
            raise MGTError(f"the sweep {file} cannot be read; give a JSON file") from None
        except ValueError as error:
            raise MGTError(f"the sweep {file} is not valid JSON ({reason(error)})") from None
        known = list(cls.__dataclass_fields__)
        if not isinstance(values, dict) or "prompts" not in values:
            raise MGTError(f"the sweep {file} has no prompts; expected a JSON object with {', '.join(known)}")
        if unknown := [name for name in values if name not in known]:
            raise MGTError(f"the sweep {file} has {join_some(unknown)}; accepted are {', '.join(known)}")
        return cls(**values)

    def jobs(self) -> Iterator["Job"]:
        """Seeds of a prompt lie side by side, settings last: neighbours in the contact sheet."""
        for prompt in dict.fromkeys(self.prompts):
            for seed in dict.fromkeys(self.seeds):
                for name in self.settings:
                    yield self.job(prompt, seed, name)

    def job(self, prompt: str, seed: int, name: str) -> "Job":
        """One picture, with the settings `name`."""
        own = self.model, self.dtype, prompt, self.negative, seed, self.size, name, self.settings[name]
        return Job(*own, self.parts)


@dataclass(frozen=True)
class Job:
    """One picture."""

    model: str
    dtype: str | None
    prompt: str
    negative: str
    seed: int
    size: list[int] | None
    settings_name: str
    settings: dict
    parts: dict = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """Of its files: to be recognized by people, and unlike that of any other job."""
        told = asdict(self)
        if not self.parts:  # names of pictures that were made before there were any
            del told["parts"]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        words = "".join(c if c.isalnum() else "-" for c in f"{self.settings_name}_{self.prompt}"[:48])
        return f"{words.encode()[:WORD_BYTES].decode(errors='ignore')}_{self.seed}_{digest}"


def check_count(spec: Spec) -> None:
    """As far as pictures can be counted before the rest is checked."""
    several = (each for each in (spec.prompts, spec.seeds, spec.settings) if isinstance(each, (list, dict)))
    if (count := math.prod(map(len, several))) > LARGEST_SWEEP:
        raise MGTError(f"the sweep asks for {count} pictures; one makes at most {LARGEST_SWEEP}, so make several")


def check_texts(spec: Spec) -> None:
    """Of a spec whose values are of the right kinds: that files, and names of files, take its texts."""
    for text in (*spec.prompts, spec.negative):
        if len(text) > LONGEST_TEXT:
            raise MGTError(f"a prompt of the sweep has {len(text)} characters; at most {LONGEST_TEXT} are accepted")
    for what, path in {"model": spec.model, **spec.parts}.items():
        if not isinstance(path, str) or "\0" in path or len(path) > LONGEST_PATH:
            raise MGTError(
                f"the sweep's {what} is {path!r}; expected a built-in model, or a path of {LONGEST_PATH} letters"
            )
    try:
        json.dumps(asdict(spec), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise MGTError(
            "a text of the sweep holds a lone surrogate, which is half of a character; write it whole"
        ) from None
    except ValueError:
        raise MGTError("settings of the sweep hold a number that is infinite or none; give finite ones") from None


def grouped(jobs: Iterable[Job], batch: int) -> list[tuple[Job, ...]]:
    """Jobs that differ in prompt and seed alone, up to `batch` of them together, in their order."""
    groups: list[list[Job]] = []
    last: dict[str, list[Job]] = {}
    for job in jobs:
        kind = replace(job, prompt="", seed=0).name
        if kind not in last or len(last[kind]) == batch:
            last[kind] = []
            groups.append(last[kind])
        last[kind].append(job)
    return [tuple(group) for group in groups]
