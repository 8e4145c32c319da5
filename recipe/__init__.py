"""What trained the built-in model ("demo"), and the judge of what it draws; docs/demo_model.md tells of both.

    python -m recipe.train --work DIR          data, codec, transformer, bundle, one after the other
    python -m recipe.evaluate                  prompts that training never showed, drawn and judged
    python -m recipe.curves DIR FILE           the learning curves of a training

A folder is a subject: data, codec, transformer, judge.
"""

from mgt_core.loading.layouts import BUILT_IN

MODEL_DIR = BUILT_IN["demo"]
