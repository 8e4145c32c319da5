"""A server for the checks that need ComfyUI; they are skipped where there is none."""

from support.comfy_fixtures import register as pytest_configure  # noqa: F401
