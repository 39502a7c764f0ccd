# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""GeoEmbedder inside a scikit-learn Pipeline."""

import numpy as np
import pytest

from unigeo_jax import coordinates

pytest.importorskip("sklearn")
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from unigeo_jax.geo_embedder import GeoEmbedder


class Encoder:
    """Stands in for a loaded model: points on the sphere."""

    info = {"features": 3}  # noqa: RUF012

    def features(self, *, lat, lon, time=None):
        if time is not None:
            return coordinates.times(time, len(lat))
        lat, lon = np.deg2rad(coordinates.degrees(lat, lon)).T
        flat = np.cos(lat)
        return np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], 1)


def test_it_is_a_step_of_a_pipeline():
    rng = np.random.default_rng(0)
    X = np.stack([rng.uniform(-90, 90, 200), rng.uniform(-180, 180, 200)], 1)
    y = np.sin(np.deg2rad(X[:, 0]))
    steps = make_pipeline(GeoEmbedder(Encoder()), Ridge(1e-6)).fit(X[:150], y[:150])
    assert steps.score(X[150:], y[150:]) > 0.999
    assert list(steps[0].get_feature_names_out()) == ["place_0", "place_1", "place_2"]


def test_columns_by_name_and_errors():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"lon": [10.0, 20.0], "lat": [1.0, 2.0]})
    made = GeoEmbedder(Encoder()).fit(frame)
    np.testing.assert_array_equal(
        made.transform(frame), made.transform(frame[["lat", "lon"]].to_numpy())
    )
    with pytest.raises(ValueError, match=r"\['lat'\] are missing"):
        made.transform(frame.drop(columns="lat"))
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        made.transform(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="row 1"):
        made.transform(np.array([[0, 0], [np.nan, 0]]))


def test_an_unknown_model_is_an_error_when_it_is_fitted():
    with pytest.raises(ValueError, match="'mars'"):
        GeoEmbedder("mars").fit([[0, 0]])


def test_a_column_of_times_is_given_to_the_model():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"lat": [1.0, 2.0], "lon": [1.0, 2.0]})
    frame["seen"] = pandas.to_datetime(["2021-07-02", None])
    made = GeoEmbedder(Encoder(), time="seen").fit(frame)
    np.testing.assert_array_equal(made.transform(frame)[:, 1], [7, 0])
    with pytest.raises(ValueError, match=r"a table, which alone has a column of times"):
        made.transform(np.zeros((2, 2)))
