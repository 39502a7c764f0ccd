# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small GeoTIFFs for tests."""

import pytest


def write_raster(path, values, *, crs="EPSG:32633", transform=None, nodata=None):
    """A GeoTIFF of (bands, height, width): 10 m pixels, near 13.5 E, 48 N."""
    rasterio = pytest.importorskip("rasterio")
    bands, height, width = values.shape
    transform = transform or rasterio.Affine(10, 0, 390_000, 0, -10, 5_320_000)
    with rasterio.open(
        *(path, "w"),
        **{"driver": "GTiff", "height": height, "width": width, "count": bands},
        **{"dtype": values.dtype, "crs": crs, "transform": transform},
        nodata=nodata,
    ) as file:
        file.write(values)
    return str(path)
