"""LoRA files for scripts that run with tests/ on their path; tests take them from support/loras.py."""

from support.loras import *  # noqa: F403
