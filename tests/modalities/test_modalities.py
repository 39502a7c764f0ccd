# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every modality file."""

import jax
import numpy as np
import pytest

from unigeo_jax import modalities
from unigeo_jax.modalities import aerial, street

TINY = {
    "aerial": {"patch": 16, "width": 16, "depth": 1, "heads": 2},
    "street": {"patch": (16, 16), "width": 16, "depth": 1, "heads": 2},
    "dsm": {"patch": 12, "width": 16, "depth": 1, "heads": 2},
    "text": {"vocab_size": 8, "width": 16, "depth": 1, "heads": 2},
    "coords": {"frequencies": 8, "sigmas": [1, 4], "depth": 1, "heads": 2},
    "student": {"levels": 3, "sigmas": (1, 4), "frequencies": 4, "widths": (8,)},
    "night": {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    "poi": {"vocab_size": 8, "width": 16, "depth": 1, "heads": 2},
}


def test_an_unknown_modality_is_an_error_that_lists_the_files():
    with pytest.raises(ValueError, match=r"'lidar'.*aerial.*coords.*dsm.*street.*text"):
        modalities.get("lidar")


def test_a_dotted_path_gives_a_module_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine_xyz").mkdir()
    (tmp_path / "mine_xyz" / "radar.py").write_text("NAME = 'radar'")
    (tmp_path / "mine_xyz" / "broken.py").write_text("import no_such_module_xyz")
    monkeypatch.syspath_prepend(tmp_path)
    assert modalities.get("mine_xyz.radar").NAME == "radar"
    with pytest.raises(ValueError, match=r"mine_xyz\.sonar"):
        modalities.get("mine_xyz.sonar")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_xyz"):
        modalities.get("mine_xyz.broken")


@pytest.mark.parametrize("name", TINY)
def test_the_encoder_takes_a_batch_of_specs_and_sums_over_no_other_place(name, draw):
    module = modalities.get(name)
    encoder = module.Encoder(dim=12, **TINY[name])
    rng = np.random.default_rng(0)

    def noise(zeros):
        values = rng.integers(0, 2 if zeros.dtype == bool else 8, (3, *zeros.shape))
        return values.astype(zeros.dtype)

    x = jax.tree.map(noise, module.spec())
    if name == "street":
        x["mask"][:, 0] = True
    if name == "poi":
        x["here"][:, 0] = True
    variables = draw(encoder, x)
    together = jax.jit(encoder.apply)(variables, x)
    assert together.shape == (3, 12)
    last = jax.tree.map(lambda a: a[2:], x)
    alone = jax.jit(encoder.apply)(variables, last)
    np.testing.assert_allclose(alone[0], together[2], atol=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in TINY if n not in ("text", "coords", "student", "poi")]
)
def test_reading_never_changes_the_record(name):
    rng = np.random.default_rng(0)
    record = {
        "aerial": rng.integers(0, 256, (36, 36, 3)).astype(np.uint8),
        "dsm": rng.integers(0, 999, (28, 28)).astype(np.int16),
        "street": rng.integers(0, 256, (48, 96, 3)).astype(np.uint8),
        "night": rng.integers(0, 256, (16, 16, 1)).astype(np.uint8),
    }
    before = {k: v.copy() for k, v in record.items()}
    for seed in (None, 0, 1):
        generator = None if seed is None else np.random.default_rng(seed)
        got = modalities.get(name).read(record, generator)
        for leaf, zeros in zip(
            jax.tree.leaves(got),
            jax.tree.leaves(modalities.get(name).spec()),
            strict=True,
        ):
            assert leaf.shape == zeros.shape and leaf.dtype == zeros.dtype
    for key, value in before.items():
        np.testing.assert_array_equal(record[key], value)


def test_colour_jitter_of_two_pictures_of_a_place_is_unrelated():
    # Equal jitter would tell which pictures belong together.
    grey = {"aerial": np.full((36, 36, 3), 127, np.uint8)}
    grey["street"] = np.full((16, 96, 3), 127, np.uint8)
    levels = []
    for seed in range(400):
        rngs = [np.random.Generator(np.random.SFC64(seed)) for _ in range(2)]
        above = aerial.read(grey, rngs[0], jitter=0.2)
        ground = street.read(grey, rngs[1], views=1, jitter=0.2)
        levels.append([*above.mean((0, 1)), *ground["image"][0].mean((0, 1))])
    correlation = np.corrcoef(np.array(levels).T) - np.eye(6)
    assert np.abs(correlation).max() < 0.25
