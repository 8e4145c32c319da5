"""What each decoding choice does to the built-in model's pictures: `python -m bench.quality`, see docs/quality.md."""

from .decoding import Case, compare, run_case
from .prompts import single_objects
from .sheet import sheet

__all__ = ["Case", "compare", "run_case", "sheet", "single_objects"]
