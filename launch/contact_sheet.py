# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Draw a contact sheet of the embedded dataset: a dozen known places in all modalities.

python launch/contact_sheet.py --out=contact_sheet.png
"""

import pathlib
import sys
import textwrap
import unicodedata

# Run as a script, the package is found beside this folder, installed or not.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from absl import app, flags

from unigeo_jax.data import datasets, splits
from unigeo_jax.data.datasets import earth_crops, earth_render

OUT = flags.DEFINE_string("out", "contact_sheet.png", "PNG file to write.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the datasets.")
DATA = flags.DEFINE_string("data", "earth", "Dataset: earth or earth/tiny.")

PLACES = {
    "Alps, Matterhorn": (45.98, 7.66),
    "Nile delta": (30.9, 31.1),
    "Amazon, Manaus": (-3.2, -59.9),
    "Sahara, Tassili": (25.5, 8.9),
    "Himalaya, Kathmandu": (27.9, 85.6),
    "Tokyo bay": (35.5, 139.9),
    "Netherlands": (52.4, 5.0),
    "Patagonia": (-49.3, -73.0),
    "Great Lakes, Chicago": (41.9, -87.7),
    "Java, volcanoes": (-7.5, 110.4),
    "Lake Victoria, Mwanza": (-2.4, 32.9),
    "Iceland, Reykjavik": (64.1, -21.9),
}
FIELDS = ("lat", "lon", "aerial", "dsm", "street", "text")
COLUMNS, WIDTH, HEIGHT = 2, 812, 216
SIDE, PAPER, INK, FAINT = 160, (250, 250, 247), (25, 25, 30), (110, 110, 115)
# Heights in metres and the colour each is painted with.
TINTS = (
    (-500, (70, 120, 80)),
    (100, (112, 160, 96)),
    (600, (200, 196, 130)),
    (1500, (176, 128, 82)),
    (3000, (146, 110, 96)),
    (4500, (240, 240, 240)),
)


def nearest_records(
    lat_i, lon_i, source: str, data_dir: str | None
) -> list[tuple[str, dict]]:
    """Split and record of the place of the dataset nearest to each point."""
    loaded = {s: datasets.load(source, s, data_dir, FIELDS) for s in splits.SPLITS}
    numbers = [(s, n) for s in splits.SPLITS for n in range(len(loaded[s][0]))]
    at = [splits.unit_vectors(i["lat"], i["lon"]) for _, i in loaded.values()]
    best = np.argmax(splits.unit_vectors(lat_i, lon_i) @ np.concatenate(at).T, axis=1)
    return [(numbers[b][0], loaded[numbers[b][0]][0][numbers[b][1]]) for b in best]


def paint_heights(height_m: np.ndarray) -> PIL.Image.Image:
    """Tint and shade a tile of heights; 0 m is painted as water."""
    big = PIL.Image.fromarray(height_m.astype(np.float32))
    big = np.asarray(big.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC))
    levels, colours = zip(*TINTS, strict=True)
    tint = [np.interp(big, levels, channel) for channel in zip(*colours, strict=True)]
    south, east = np.gradient(big / 900.0)
    light = np.clip(
        1 - 0.7 * (east + south) / np.sqrt(1 + east**2 + south**2), 0.4, 1.4
    )
    rgb = np.stack(tint, -1) * light[..., None]
    sea = PIL.Image.fromarray((height_m == 0).view(np.uint8) * 255)
    sea = np.asarray(sea.resize((SIDE, SIDE), PIL.Image.Resampling.NEAREST)) > 127
    rgb[sea] = (120, 160, 205)
    return PIL.Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def brighten(pixels: np.ndarray) -> PIL.Image.Image:
    """Lift the dark greens of the image so that they show in print."""
    lifted = 255 * (pixels / 255.0) ** 0.6
    image = PIL.Image.fromarray(lifted.astype(np.uint8))
    return image.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)


def plain(text: str) -> str:
    """Drop accents, which the font that comes with Pillow cannot draw."""
    text = unicodedata.normalize("NFKD", text).replace("\n", " | ")
    return text.encode("ascii", "ignore").decode()


def world_map(lat: float, lon: float, size: tuple[int, int]) -> PIL.Image.Image:
    """A small map of the land with the place marked."""
    land = PIL.Image.fromarray(
        (earth_crops.raster("landcover.png") > 0).view(np.uint8) * 255
    )
    grey = np.asarray(land.resize(size, PIL.Image.Resampling.BOX))[..., None] / 255
    rgb = grey * (168, 170, 160) + (1 - grey) * (226, 234, 240)
    image = PIL.Image.fromarray(rgb.astype(np.uint8))
    x, y = (lon + 180) / 360 * size[0], (90 - lat) / 180 * size[1]
    PIL.ImageDraw.Draw(image).ellipse(
        (x - 4, y - 4, x + 4, y + 4), (214, 40, 40), "white"
    )
    return image


def draw_place(title: str, split: str, record: dict) -> PIL.Image.Image:
    """One cell of the sheet: the modalities of one place."""
    cell = PIL.Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = PIL.ImageDraw.Draw(cell)
    bold, small = PIL.ImageFont.load_default(17), PIL.ImageFont.load_default(12)
    draw.text((8, 6), title, INK, bold)
    where = f"{record['lat']:.3f}, {record['lon']:.3f} · {split}"
    draw.text((8 + SIDE * 2 + 16, 10), f"coords {where}", FAINT, small)

    cell.paste(brighten(record["aerial"][2:-2, 2:-2]), (8, 32))
    cell.paste(paint_heights(record["dsm"][2:-2, 2:-2]), (16 + SIDE, 32))
    left, camera = 24 + SIDE * 2, earth_render.Camera()
    street = PIL.Image.fromarray(record["street"][: camera.rows])
    size = (camera.azimuths * 9 // 2, camera.rows * 9 // 2)
    cell.paste(street.resize(size, PIL.Image.Resampling.NEAREST), (left, 32))
    for x, label in ((8, "aerial, brightened"), (16 + SIDE, "dsm, 28 m steps")):
        draw.text((x, 34 + SIDE), label, FAINT, small)
    label = "street, rendered; relief x15, north in the centre"
    draw.text((left, 34 + size[1]), label, FAINT, small)
    cell.paste(world_map(record["lat"], record["lon"], (150, 75)), (left, 124))
    text = f"text: {plain(record['text'])}"
    lines = textwrap.wrap(text, 44, max_lines=6, placeholder=" ...")
    draw.multiline_text((left + 158, 122), "\n".join(lines), INK, small, spacing=2)
    return cell


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    lat_i, lon_i = np.array(list(PLACES.values())).T
    found = nearest_records(lat_i, lon_i, DATA.value, DATA_DIR.value)
    rows = -(-len(PLACES) // COLUMNS)
    sheet = PIL.Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT + 8), PAPER)
    for number, (title, (split, record)) in enumerate(zip(PLACES, found, strict=True)):
        at = (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT)
        sheet.paste(draw_place(title, split, record), at)
    path = pathlib.Path(OUT.value)
    sheet.quantize(256, PIL.Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    app.run(main)
