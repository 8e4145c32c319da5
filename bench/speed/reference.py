"""A checkout of the original pipeline (viiika/Meissonic), run side by side on the same weights.

It needs libraries of its own time, so it lives in another interpreter, which is told what to do over a pipe.
"""

import json
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import mgt_core

from .runs import NEGATIVE, Settings, Timing, prompts

# The first line that the interpreter is sent is the driver, as JSON text; requests follow.
START = "import json, sys; exec(compile(json.loads(sys.stdin.readline()), 'reference_driver.py', 'exec'))"
DRIVER = Path(__file__).with_name("reference_driver.py")


class Reference:
    """The pipeline of `checkout` under the interpreter `python`; close it, or use it as a context."""

    def __init__(self, checkout: Path, python: str):
        if not (checkout / "src" / "pipeline.py").is_file():
            raise mgt_core.MGTError(
                f"--reference is {checkout}, which holds no src/pipeline.py; give a checkout of viiika/Meissonic"
            )
        try:
            self.process = subprocess.Popen(
                [python, "-u", "-c", START],
                cwd=checkout,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise mgt_core.MGTError(f"--python is {python!r}, which cannot be run ({error})") from None
        self.send(DRIVER.read_text())

    def send(self, message: str | dict) -> None:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.ended() from None

    def ask(self, do: str, **details) -> dict:
        self.send({"do": do, **details})
        line = self.process.stdout.readline()
        if not line:
            raise self.ended()
        answer = json.loads(line)
        if "error" in answer:
            raise mgt_core.MGTError(f"the reference pipeline failed to {do}: {answer['error']}")
        return answer

    def ended(self) -> mgt_core.MGTError:
        status = self.process.wait()
        return mgt_core.MGTError(f"the reference pipeline ended with status {status}; what it said is above")

    def load(self, bundle: Path, dtype: torch.dtype, device: torch.device) -> None:
        self.ask(
            "load",
            bundle=str(bundle.resolve()),
            dtype=str(dtype).removeprefix("torch."),
            device=str(device),
            threads=torch.get_num_threads(),
        )

    def run(self, settings: Settings, batch: int, seed: int) -> Timing:
        seconds = self.ask(
            "run",
            prompts=prompts(batch),
            negative=NEGATIVE,
            size=settings.size,
            steps=settings.steps,
            cfg=settings.cfg,
            temperature=settings.temperature,
            seed=seed,
        )
        return Timing(
            text=seconds["text"],
            sample=seconds["total"] - seconds["text"] - seconds["decode"],
            decode=seconds["decode"],
            steps=[],
            calls=seconds["calls"],
            passes=2 * seconds["calls"],
            peak=seconds["peak"],
            network={"features": seconds["transformer"]},
        )

    def logits(self, tokens: torch.Tensor, prompt: str, timestep: int, size: int) -> torch.Tensor:
        """[h, w, V] of tokens [h, w] under `prompt`."""
        with tempfile.TemporaryDirectory() as folder:
            given, answer = Path(folder) / "tokens.safetensors", Path(folder) / "logits.safetensors"
            save_file({"tokens": tokens[None].contiguous()}, given)
            self.ask("logits", tokens=str(given), answer=str(answer), prompt=prompt, timestep=timestep, size=size)
            return load_file(answer)["logits"][0].permute(1, 2, 0)

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def __enter__(self) -> "Reference":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def logits_difference(reference: Reference, pipe: mgt_core.Pipeline, size: int, seed: int = 0) -> dict[str, float]:
    """Both networks on one half-masked state and prompt: largest and root mean square difference, and the spread
    of the logits to see them against. Equal logits are what makes the comparison of speeds fair."""
    model, prompt, timestep = pipe.model, prompts(1)[0], 7
    generator = torch.Generator().manual_seed(seed)
    grid = model.grid_for(size, size)
    tokens = torch.randint(model.codebook_size, grid, generator=generator)
    tokens = tokens.masked_fill(torch.rand(grid, generator=generator) < 0.5, model.mask_id)
    ours = model.logits(tokens[None], pipe.text.encode(prompt, size=(size, size)), timestep)[0].cpu()
    theirs = reference.logits(tokens, prompt, timestep, size)
    gap = ours - theirs
    return {
        "largest": float(gap.abs().max()),
        "root_mean_square": float(gap.square().mean().sqrt()),
        "spread": float(theirs.std()),
    }
