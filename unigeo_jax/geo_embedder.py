# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A scikit-learn transformer: columns lat and lon become features in a Pipeline."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

import unigeo_jax


class GeoEmbedder(TransformerMixin, BaseEstimator):
    """Embed coordinates with an exported model; there is nothing to fit.

    model: a folder or name for `unigeo_jax.load`, or what it returned. X: (n, 2)
    numbers [lat, lon] in degrees WGS 84, or a table with columns `lat` and `lon`, and
    `time`, if one is named, for a model that takes times.
    Gives float32 (n, d), the model's `features`. Raises ValueError as it does.
    """

    def __init__(
        self, model: Any = "earth", lat: str = "lat", lon: str = "lon", time: str = ""
    ):
        self.model, self.lat, self.lon, self.time = model, lat, lon, time

    def fit(self, X: Any, y: Any = None) -> "GeoEmbedder":
        """Open the model; X and y are not looked at."""
        del X, y
        self.model_ = (
            self.model
            if hasattr(self.model, "features")
            else unigeo_jax.load(self.model)
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the vectors of the rows of X, float32 (n, d)."""
        if hasattr(X, "columns"):
            names = {"lat": self.lat, "lon": self.lon}
            names |= {"time": self.time} if self.time else {}
            if missing := [c for c in names.values() if c not in X.columns]:
                raise ValueError(
                    f"GeoEmbedder: columns {missing} are missing; got {list(X.columns)}"
                )
            given = {key: np.asarray(X[name]) for key, name in names.items()}
            return self.model_.features(**given)
        X = np.asarray(X)
        if X.ndim != 2 or X.shape[1] != 2 or self.time:
            raise ValueError(
                f"GeoEmbedder: got shape {X.shape}; allowed: (n, 2), lat and lon, or a"
                " table, which alone has a column of times"
            )
        return self.model_.features(lat=X[:, 0], lon=X[:, 1])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return place_0, place_1, ..."""
        del input_features
        names = [f"place_{i}" for i in range(self.model_.info["features"])]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")
