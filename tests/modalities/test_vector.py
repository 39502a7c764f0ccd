# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Users' own vectors: by field or by file, and the heads of MobCLIP's release."""

import jax
import numpy as np
import pytest

from unigeo_jax.modalities import vector


def table(rows=5, width=3):
    return np.arange(rows * width, dtype=np.float32).reshape(rows, width)


def test_a_row_of_an_npy_file_is_that_of_the_node(tmp_path):
    path = str(tmp_path / "v.npy")
    np.save(path, table())
    got = vector.read({"node": np.int64(3)}, None, width=3, file=path)
    np.testing.assert_array_equal(got, [9, 10, 11])
    assert vector.read({"node": -1}, None, width=3, file=path) is None
    assert vector.read({}, None, width=3, file=path) is None
    with pytest.raises(ValueError, match=r"node 5 of place 7.*has 5 rows"):
        vector.read({"node": 5, "place": 7}, None, width=3, file=path)


def test_a_parquet_column_of_lists_is_read_and_a_null_row_is_absent(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    path = str(tmp_path / "v.parquet")
    columns = {"poi": [[1.0, 2.0], None, [3.0, None]], "odd": [[1.0], [1.0, 2.0], []]}
    pyarrow.parquet.write_table(pa.table(columns), path)
    options = {"width": 2, "file": path, "column": "poi"}
    np.testing.assert_array_equal(vector.read({"node": 0}, None, **options), [1, 2])
    assert vector.read({"node": 1}, None, **options) is None
    assert vector.read({"node": 2}, None, **options) is None
    with pytest.raises(ValueError, match=r"no column 'poy', allowed: poi, odd"):
        vector.open_file(path, "poy")
    with pytest.raises(ValueError, match=r"'odd' of .* lists of \[0, 1, 2\]"):
        vector.open_file(path, "odd")


def test_a_record_field_is_absent_where_missing_or_not_finite():
    record = {"bge": np.array([1.0, 2.0]), "bad": np.array([1.0, np.nan])}
    got = vector.read(record, None, width=2, field="bge")
    assert got is not None and got.dtype == np.float32
    assert vector.read(record, None, width=2, field="bad") is None
    assert vector.read(record, None, width=2, field="none") is None
    with pytest.raises(ValueError, match=r"'bge' has shape \(2,\), allowed: width=3"):
        vector.read(record, None, width=3, field="bge")


def test_wrong_sources_are_refused_before_anything_is_read(tmp_path):
    path = str(tmp_path / "v.npy")
    np.save(path, table())
    vector.check({"width": 3, "file": path}, {})
    with pytest.raises(ValueError, match="has width 3, got width=4"):
        vector.check({"width": 4, "file": path}, {})
    with pytest.raises(ValueError, match="allowed: one of the two"):
        vector.check({"width": 3}, {})
    with pytest.raises(ValueError, match=r"allowed: \.npy or \.parquet"):
        vector.check({"width": 3, "file": "v.csv"}, {})
    flat = str(tmp_path / "flat.npy")
    np.save(flat, np.zeros(4))
    with pytest.raises(ValueError, match=r"allowed: \(rows, width\)"):
        vector.check({"width": 4, "file": flat}, {})


@pytest.mark.parametrize(
    ("width", "hidden", "count"),
    [(1024, 0, 131_200), (768, 0, 98_432), (40, 64, 10_944)],
)
def test_the_heads_have_the_parameters_and_first_values_of_mobclip(
    width, hidden, count
):
    encoder = vector.Encoder(dim=128, hidden=hidden)
    params = encoder.init(jax.random.key(0), np.zeros((1, width), np.float32))["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == count
    for part in params.values():
        inputs = part["kernel"].shape[0]
        for name, bound in (("kernel", (6 / inputs) ** 0.5), ("bias", inputs**-0.5)):
            values = np.asarray(part[name])
            assert np.abs(values).max() <= bound
            # Uniform within +-bound: standard deviation bound / sqrt(3).
            assert values.std() == pytest.approx(bound / 3**0.5, rel=0.15)
