"""`python -m mgt_core COMMAND …`: what the library does from a command line."""

import argparse
import importlib
import logging
import os
import pkgutil
import sys
from contextlib import suppress

import torch

from . import commands
from .errors import MGTError
from .files import system_reason
from .interrupted import CANCELLED

LESS = "take a smaller model or batch, a smaller picture, a shorter sound"
NO_MEMORY = f"there is not enough memory for this; {LESS}, or end other programs"
NO_GPU_MEMORY = f"there is not enough GPU memory for this; {LESS}, or --device cpu"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 1 after a bad input or where the system refuses something, whose sentence goes to standard error."""
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        told, status = "Cancelled.", CANCELLED
    except BrokenPipeError:  # who reads what is said has gone
        told, status = "", 1
    except Exception as error:
        told, status = sentence(error), 1
        if not told:
            raise
    if told:  # now that a progress bar has ended its line
        with suppress(OSError):
            print(told, file=sys.stderr)
    return status


def sentence(error: Exception) -> str:
    """For a person; empty where `error` is a fault of the library."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return NO_GPU_MEMORY
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return NO_MEMORY
    if isinstance(error, OSError):
        named = "a file" if error.filename is None else error.filename
        return str(MGTError(f"{named} cannot be read or written ({system_reason(error)})"))
    return str(error) if isinstance(error, MGTError) else ""


def run(arguments: list[str]) -> int:
    for argument in arguments:
        if "\0" in argument or not argument.isascii() and not is_name(argument):
            raise MGTError(f"the argument {argument!r} holds characters that no name can have")
    parser = argparse.ArgumentParser(prog="python -m mgt_core", description=__doc__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        command = subparsers.add_parser(found.name.replace("_", "-"), help=module.HELP, description=module.HELP)
        module.arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.run(options)
    return 0


def is_name(text: str) -> bool:
    """Whether the system can have a file of this name."""
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


def end(status: int) -> None:
    """Ends the process; where nobody reads its output any more, without a word."""
    with suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.exit(status)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(status)


def open_streams() -> None:
    """Those that a shell has closed lead nowhere, where argparse and others would find None."""
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


if __name__ == "__main__":
    open_streams()
    try:
        code = main()
    except SystemExit as ended:  # of argparse, which has said why
        code = ended.code
    end(code)
