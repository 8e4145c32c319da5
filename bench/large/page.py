"""The tables of sizes as docs/large.md has them."""

from collections.abc import Mapping

HEAD = (
    "| Model | bfloat16 | fp8 | W4A8 | Text encoder | in w8a16 | Codec |",
    "|---|---|---|---|---|---|---|",
)


CARD = ("| Weights | themselves | with a step | and the token cache | a step, streamed |", "|---|---|---|---|---|")


def card_rows(asked: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Of what `sizes.on_card` gives."""
    return [
        *CARD,
        *(f"| {name} | {' | '.join(shown(value) for value in held.values())} |" for name, held in asked.items()),
    ]


def rows(sizes: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Lines of the table, of what `sizes.table` gives."""
    return [
        *HEAD,
        *(f"| {model} | {' | '.join(shown(value) for value in held.values())} |" for model, held in sizes.items()),
    ]


def shown(size: float | None) -> str:
    return f"{size:.2f} GB" if size else "-"
