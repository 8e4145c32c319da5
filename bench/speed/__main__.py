"""Speed of a full-size (or tiny) Meissonic with random weights: its parts, and whole runs with one technique a row.

    python -m bench [--tiny] [--json FILE] [--markdown FILE] [--reference DIR --python PY]

docs/performance.md says what the figures mean.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import mgt_core
from mgt_core.errors import whole_number
from mgt_core.placement import pick_device, pick_dtype

from .benchmark import DTYPES, Bench, say
from .bundle import FULL, TINY, Sizes, write_bundle
from .reference import Reference
from .report import markdown
from .rows import REFERENCE, ROWS, choose_rows


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a network of a few thousand weights: does it all work?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--dtype", choices=DTYPES, help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--device")
    parser.add_argument("--size", type=int, help="pixels of a side (default: 1024, tiny 64)")
    parser.add_argument("--steps", type=int, help="default: 3 on a CPU, 64 on a GPU, tiny 4")
    parser.add_argument("--cfg", type=float, default=9.0)
    parser.add_argument("--batch", type=int, nargs="+", help="default: 1 on a CPU, 1 4 16 on a GPU and tiny")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="ROW", help=f"rows of {', '.join((*ROWS, REFERENCE))}")
    parser.add_argument(
        "--prompts", type=int, help="prompts to judge on the built-in model (default: 20, tiny 2; 0: don't)"
    )
    parser.add_argument("--reference", type=Path, metavar="DIR", help="a checkout of viiika/Meissonic to run beside")
    parser.add_argument("--python", metavar="PY", help="an interpreter that has what the checkout needs")
    parser.add_argument("--bundle", type=Path, help="keep the random weights in this folder, or take them from it")
    return parser


def settled(options: argparse.Namespace) -> argparse.Namespace:
    """With every default in its place. Raises MGTError for what cannot be run."""
    device = pick_device(options.device)
    dtype = pick_dtype(DTYPES.get(options.dtype), device)
    gpu = device.type != "cpu"
    defaults = {
        "size": TINY.pixels if options.tiny else FULL.pixels,
        "steps": 4 if options.tiny else 64 if gpu else 3,
        "batch": [1, 4, 16] if options.tiny or gpu else [1],
        "prompts": 2 if options.tiny else 20,
    }
    settled = argparse.Namespace(**vars(options))
    for name, value in defaults.items():
        if getattr(settled, name) is None:
            setattr(settled, name, value)
    for name, low in (("steps", 2), ("repeats", 1), ("prompts", 0)):
        whole_number(f"--{name}", getattr(settled, name), low, 100_000)
    for batch in settled.batch:
        whole_number("--batch", batch, 1, 4096)
    if (options.reference is None) != (options.python is None):
        raise mgt_core.MGTError("--reference DIR and --python PY belong together; give both or none")
    # Unless prompts were asked for, the judge of a tiny run only shows that it works.
    settled.judged_steps = settled.steps if options.tiny and options.prompts is None else None
    settled.device, settled.dtype = device, str(dtype).removeprefix("torch.")
    settled.rows = choose_rows(options.only, options.reference is not None)
    return settled


def bundle_folder(options: argparse.Namespace, stack: ExitStack) -> Path:
    sizes: Sizes = TINY if options.tiny else FULL
    folder = options.bundle or Path(stack.enter_context(tempfile.TemporaryDirectory())) / sizes.name
    if not (folder / "model_index.json").is_file():
        say(f"writing random weights to {folder}")
        write_bundle(folder, sizes)
    return folder


def main(argv: list[str] | None = None) -> None:
    options = arguments().parse_args(argv)
    try:
        options = settled(options)
        with ExitStack() as stack:
            reference = None
            if options.reference is not None:
                reference = stack.enter_context(Reference(options.reference, options.python))
            bundle = bundle_folder(options, stack)
            report = Bench(options, bundle, reference).measure()
    except mgt_core.MGTError as error:
        sys.exit(f"bench: {error}")
    for file, text in ((options.json, json.dumps(report, indent=1) + "\n"), (options.markdown, markdown(report))):
        if file:
            file.write_text(text)
    print(markdown(report))


if __name__ == "__main__":
    main()
