# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the bundle shows and says of any places on Earth: the fields datasets share.

The street view is *rendered* from the image and the heights.
"""

import dataclasses
from typing import Any

import h3
import numpy as np
import PIL.Image

from unigeo_jax.data import images, splits
from unigeo_jax.data.datasets import earth_captions, earth_crops, earth_render, points
from unigeo_jax.data.datasets.chunks import Columns

AERIAL, NIGHT, DSM = 36, 16, 36  # pixels a side; aerial and dsm with a margin of 2
""".rstrip()+"""
CELLS = 12  # of the height map, a degree


def ray_latitudes(lat_i) -> np.ndarray:
    """Latitude of the centre of each place's row of the height map.

    An eye stands on a whole pixel, and so its rays are those of the row's centre.
    """
    row_i = np.floor((90.0 - np.asarray(lat_i, np.float64)) * CELLS)
    return 90.0 - (row_i + 0.5) / CELLS


def scene(lats, camera: earth_render.Camera) -> earth_render.Scene:
    """The real world at the grid of the heights, for rays cast from some latitudes."""
    height_m = earth_crops.elevation()
    size = height_m.shape[::-1]
    box = PIL.Image.Resampling.BOX
    blue = PIL.Image.fromarray(earth_crops.raster("blue_marble.jpg")).resize(size, box)
    wet = PIL.Image.fromarray(
        (earth_crops.raster("landcover.png") == 0).view(np.uint8) * 255
    )
    water = np.asarray(wet.resize(size, box)) > 127
    return earth_render.Scene(height_m, np.asarray(blue), water, lats, camera)


class Sights:
    """Makes the fields that depend on where a place is and on nothing else.

    Args:
      lat_i: latitudes of all the places to come.
      poi_km: how far points of interest are looked for.
    """

    def __init__(self, lat_i, poi_km: float) -> None:
        self.places = earth_crops.Places()
        self._camera = earth_render.Camera()
        self._scene = scene(ray_latitudes(lat_i), self._camera)
        self._captions = earth_captions.Writer(self.places)
        self._points, self._poi_km = points.Points(self.places), poi_km
        self._aerial = earth_crops.raster("blue_marble.jpg")
        self._night = np.ascontiguousarray(
            earth_crops.raster("black_marble.jpg")[..., :1]
        )
        self._height_m = earth_crops.surface()

    def make(self, lat_i, lon_i, within_100: list[np.ndarray]) -> Columns:
        """Columns of some places, images already encoded.

        `within_100`: numbers of the named places within 100 km of each place.
        """
        pairs = list(zip(lat_i.tolist(), lon_i.tolist(), strict=True))
        lines = self._points.lines(lat_i, lon_i, self._poi_km)
        return {
            "lat": lat_i,
            "lon": lon_i,
            "h3": np.array(
                [h3.str_to_int(h3.latlng_to_cell(*at, 5)) for at in pairs], np.int64
            ),
            "ndvi": earth_crops.ndvi(lat_i, lon_i),
            "poi": [text.encode() for text in lines],
            **self._pictures(lat_i, lon_i),
            **self._words(lat_i, lon_i, within_100),
        }

    def _pictures(self, lat_i, lon_i) -> Columns:
        night = earth_crops.crops(self._night, lat_i, lon_i, NIGHT)
        light_i = earth_crops.crops(self._night, lat_i, lon_i, 3).mean((1, 2, 3))
        cover_i, shares_ic = earth_crops.land_cover_fractions(lat_i, lon_i)
        columns = {"aerial": earth_crops.crops(self._aerial, lat_i, lon_i, AERIAL)}
        columns |= {"night": night, "street": self._street(lat_i, lon_i)}
        encoded = {k: [images.encode_png(p) for p in v] for k, v in columns.items()}
        return encoded | {
            "dsm": earth_crops.crops(self._height_m, lat_i, lon_i, DSM),
            "night_light": light_i.astype(np.float32),
            "landcover": cover_i,
            "landcover_fractions": shares_ic,
        }

    def _street(self, lat_i, lon_i) -> np.ndarray:
        """All rendered views of each place, one below the other."""
        views = self._camera.views
        seed_i = splits.hash_places("earth-street", lat_i, lon_i)
        jitter, heading = earth_render.jitters(seed_i, self._camera)
        seen = self._scene.render(
            np.repeat(ray_latitudes(lat_i), views),
            np.repeat(lon_i, views),
            jitter.reshape(-1, 2),
            heading.reshape(-1),
        )
        return seen.reshape(len(lat_i), -1, *seen.shape[2:])

    def _words(self, lat_i, lon_i, within_100: list[np.ndarray]) -> Columns:
        """Captions, country and height, from the named places around."""
        places = self.places
        captions = self._captions.write(lat_i, lon_i, within_100)
        km_i1, nearest_i1 = places.nearest(lat_i, lon_i, 1)
        km_i, nearest_i = np.reshape(km_i1, -1), np.reshape(nearest_i1, -1)
        codes = [places.country_codes[c] for c in places.country[nearest_i]]
        codes = [
            c if km <= earth_crops.TEXT_REACH_KM else ""
            for c, km in zip(codes, km_i, strict=True)
        ]
        known = [earth_captions.countries().get(code, {}) for code in codes]
        place_m = places.elevation_m[nearest_i].astype(np.float32)
        cell_i = splits.cell_ids(places.lat[nearest_i], places.lon[nearest_i])
        inside_i = cell_i == splits.cell_ids(lat_i, lon_i)
        inside_i &= place_m > earth_crops.VOID_M
        map_m = earth_crops.crops(self._height_m, lat_i, lon_i, 1)[:, 0, 0]
        map_m = np.where(map_m == earth_crops.VOID_M, np.nan, map_m)
        return {
            "text": [text.encode() for text, _ in captions],
            "text_masked": [masked.encode() for _, masked in captions],
            "country": [code.encode() for code in codes],
            "continent": [(c.get("continent") or "").encode() for c in known],
            "elevation_m": np.where(inside_i, place_m, map_m).astype(np.float32),
        }


def features() -> dict[str, Any]:
    """TFDS features of the fields that `Sights.make` makes."""
    import tensorflow_datasets as tfds  # here: workers do without

    def tensor(shape, dtype):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

    def image(*shape):
        return tfds.features.Image(shape=shape, encoding_format="png")

    camera = earth_render.Camera()
    text = tfds.features.Text
    return {
        "lat": tensor((), np.float64),  # a plain number would be stored as float32
        "lon": tensor((), np.float64),
        "h3": np.int64,
        "aerial": image(AERIAL, AERIAL, 3),
        "night": image(NIGHT, NIGHT, 1),
        "dsm": tensor((DSM, DSM), np.int16),
        "street": image(camera.views * camera.rows, camera.azimuths, 3),
        "text": text(),
        "text_masked": text(),
        "poi": text(),
        "landcover": np.int32,
        "landcover_fractions": tensor((17,), np.float32),
        "ndvi": tensor((2,), np.float32),
        "night_light": np.float32,
        "elevation_m": np.float32,
        "country": text(),
        "continent": text(),
    }


def metadata() -> dict[str, Any]:
    """What the records do not say of themselves."""
    return {
        "street": "rendered: rays cast over the heights, coloured by the image",
        "camera": dataclasses.asdict(earth_render.Camera()),
        "text": "bearings are from the place to what is named",
        "poi": "kind, name, km: GeoNames places, airports, cities of the encyclopaedia",
        "dsm": f"metres; {earth_crops.VOID_M} = no height: Greenland's ice",
        "sources": "see DATA_CARD.md and licences/ of the bundle",
    }
