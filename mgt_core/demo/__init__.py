"""The built-in model ("demo"), the data it was trained on, and the recipe that trained it."""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
