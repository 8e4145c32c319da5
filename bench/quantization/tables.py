"""The table of schemes in docs/quantization.md."""

from ..markdown import percent, table

SCHEMES = "Scheme | MB | Object | Background | Gained / lost | Tokens as float | Predictions as float"


def markdown(results: dict[str, dict]) -> str:
    """results: by scheme."""
    schemes = [
        [
            name,
            f"{r['megabytes']:.1f}",
            percent(r["object"], 1),
            f"{100 * r['background']['share']:.1f} %",
            f"{r['gained']} / {r['lost']}",
            f"{100 * r['tokens_as_vanilla']:.0f} %",
            f"{100 * r['agreement']:.1f} %" if "agreement" in r else "-",
        ]
        for name, r in results.items()
    ]
    return table(SCHEMES, schemes)
