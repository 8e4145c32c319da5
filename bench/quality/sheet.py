"""The pictures themselves."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL, GAP = 310, 4  # pixels


def sheet(rows: dict[str, np.ndarray], side: int = 128, before: Image.Image | None = None) -> Image.Image:
    """One labelled row of pictures [P, H, W, 3], float in 0..1 or uint8, a case; below those of the sheet `before`."""
    count, above = max(map(len, rows.values()), default=0), before.height if before else 0
    width = max(LABEL + count * (side + GAP), before.width if before else 0)
    page = Image.new("RGB", (width, above + len(rows) * (side + GAP)), "white")
    if before:
        page.paste(before)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for row, (name, images) in enumerate(rows.items()):
        top = above + row * (side + GAP)
        draw.text((4, top + side // 2 - 6), name, fill="black", font=font)
        for column, image in enumerate(images):
            pixels = image if image.dtype == np.uint8 else (image * 255).round().astype(np.uint8)
            kind = Image.Resampling.NEAREST if pixels.shape[0] <= side else Image.Resampling.LANCZOS
            picture = Image.fromarray(pixels).resize((side, side), kind)
            page.paste(picture, (LABEL + column * (side + GAP), top))
    return page
