"""What trained the built-in model ("demo"): its pictures, codec and transformer; and the judge of what it draws."""

from mgt_core.loading.layouts import BUILT_IN

MODEL_DIR = BUILT_IN["demo"]
