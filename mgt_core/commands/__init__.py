"""Subcommands of `python -m mgt_core`, one module each: HELP, `arguments(parser)` and `run(options)`.

A module `train_guidance.py` is the command `train-guidance`.
"""
