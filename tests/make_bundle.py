"""Model bundles for scripts that run with tests/ on their path; tests take them from support/bundles.py."""

from support.bundles import *  # noqa: F403
