# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What lies near a training place, over the date line and at the poles."""

import numpy as np

from unigeo_jax import domains


def test_the_domain_is_what_lies_near_a_place_and_survives_the_file(tmp_path):
    lat, lon = np.array([0.0, 60.0, 89.9]), np.array([179.99, 10.0, 0.0])
    domain = domains.Domain.around(lat, lon, 50.0)
    domain.write(tmp_path / "domain.npz")
    read = domains.Domain.read(tmp_path / "domain.npz")
    np.testing.assert_array_equal(read.inside_c, domain.inside_c)
    inside = read.inside(
        np.array([0.0, 0.0, 0.0, 60.0, 60.0, 89.95, 90.0, -90.0]),
        np.array([179.9, -179.8, 178.5, 10.5, 12.0, 180.0, 77.0, 0.0]),
    )
    assert inside.tolist() == [True, True, False, True, False, True, True, False]
    assert read.km == 50.0
