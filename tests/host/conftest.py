"""A server for tests that need ComfyUI."""

from support.comfy_fixtures import register as pytest_configure  # noqa: F401
