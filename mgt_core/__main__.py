"""`python -m mgt_core COMMAND …`: what the library does from a command line."""

import argparse
import importlib
import logging
import pkgutil
import sys

from . import commands
from .errors import MGTError


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 1 after a bad input, whose sentence goes to standard error."""
    parser = argparse.ArgumentParser(prog="python -m mgt_core", description=__doc__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        command = subparsers.add_parser(found.name.replace("_", "-"), help=module.HELP, description=module.HELP)
        module.arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options.run(options)
    except MGTError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
