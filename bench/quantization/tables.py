"""The tables of docs/quantization.md."""

from ..markdown import percent, table

SCHEMES = "Scheme | MB | Object | Background | Gained / lost | Tokens as float | Predictions as float"
CALIBRATIONS = "Int8 inputs | Seed | Scales moved by | Predictions kept, first | second | Shift, first | second"


def markdown(results: dict[str, dict], rows: list[dict]) -> str:
    """results: by scheme; rows: of the second calibration."""
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
    calibrations = [
        [
            f"{100 * r['share']:.0f} % of layers",
            str(r["seed"]),
            f"{100 * r['scales_moved']:.1f} %",
            f"{100 * r['first_agreement']:.1f} %",
            f"{100 * r['second_agreement']:.1f} %",
            f"{r['first_shift']:.4f}",
            f"{r['second_shift']:.4f}",
        ]
        for r in rows
    ]
    return "\n".join((table(SCHEMES, schemes), table(CALIBRATIONS, calibrations)))
