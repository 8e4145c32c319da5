#!/usr/bin/env python3
"""Runs a ComfyUI workflow from the command line, in this process or on a ComfyUI server.

    python run_workflow.py text_to_image --set "Prompt.text=a blue fish"

FILE is what people share: a workflow saved from the browser (UI format), a prompt (API format), or a
PNG image or FLAC sound that carries either; or the name of a workflow in workflows/, with _ between its words.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":  # before torch is there: its threads then sleep while they wait, where others spin
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from runner.command import main, prepare  # noqa: E402
from runner.convert import to_api  # noqa: E402
from runner.validate import validate  # noqa: E402

__all__ = ["main", "prepare", "to_api", "validate"]

if __name__ == "__main__":
    sys.exit(main())
