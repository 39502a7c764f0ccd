# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Real checkpoints, damaged for real: nothing wrong is loaded, nothing good is lost."""

import collections
import contextlib
import os
import pathlib
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from unigeo_jax import checkpoint, seams

# Orbax leaves coroutines of a write that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def state(step):
    key = jax.random.key(step)
    params = {"w": jax.random.normal(key, (200, 300)), "b": jnp.arange(9.0)}
    return {"step": jnp.int32(step), "params": params}


def abstract():
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )


def same(folder, step):
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        got = saves.restore(step, abstract())
    jax.tree.map(np.testing.assert_array_equal, got, state(step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the steps 2 and 4."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        for step in (2, 4):
            saves.save(step, state(step))
        saves.wait()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return pathlib.Path(shutil.copytree(saved, tmp_path / "checkpoints"))


MARKER = "commit_success.txt"  # Orbax's, and empty of meaning on a disk that renames


def files(folder, step):
    """All files of a step, the sums and Orbax's markers too."""
    return [p for p in sorted((folder / str(step)).rglob("*")) if p.is_file()]


def arrays(folder, step):
    """Those of its arrays that hold something."""
    found = files(folder / str(step), "default")
    return [p for p in found if p.name not in (checkpoint.SUMS, MARKER)]


def test_what_is_whole_is_taken_and_equal(folder):
    assert checkpoint.newest_good(folder, fall_back=True) == (4, [])
    same(folder, 4)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("harm", [flip, cut, pathlib.Path.unlink])
def test_harm_to_any_file_is_named_and_the_step_before_is_taken(folder, harm):
    names = [p.relative_to(folder / "4").as_posix() for p in files(folder, 4)]
    assert len(names) >= 10
    assert {checkpoint.METADATA, f"default/{checkpoint.SUMS}"} < {*names}
    wrong = 0
    for name in names:
        kept = (folder / "4" / name).read_bytes()
        harm(folder / "4" / name)
        good, lines = checkpoint.newest_good(folder, fall_back=True)
        # Wrong sums may blame the file they are of, or one that they name wrongly.
        sums = name.endswith(checkpoint.SUMS)
        named = good == 2 and (sums or str(folder / "4" / name) in lines[0])
        # A marker and a time decide nothing: where one is not missed, it is not needed.
        undecided = pathlib.Path(name).name in (MARKER, checkpoint.METADATA)
        wrong += not named and not (undecided and good == 4)
        if good == 4:
            same(folder, 4)
        (folder / "4" / name).write_bytes(kept)
    assert wrong == 0
    assert checkpoint.newest_good(folder, fall_back=True) == (4, [])


def test_without_its_sums_a_step_is_damaged_and_set_aside(folder, capsys):
    (folder / "4" / "default" / checkpoint.SUMS).unlink()
    flip(max(arrays(folder, 4), key=lambda p: p.stat().st_size))
    assert checkpoint.newest_whole(folder, fall_back=True) == 2
    assert f"{checkpoint.SUMS}: missing" in capsys.readouterr().err
    assert (folder.parent / "damaged" / "4.0").is_dir()
    same(folder, 2)


@pytest.mark.parametrize("text", ["", "[]", "[" * 10**5, '{"metrics": 3}'])
def test_what_orbax_could_not_open_in_an_older_step_is_set_aside(folder, text, capsys):
    (folder / "2" / checkpoint.METADATA).write_text(text)
    assert checkpoint.newest_whole(folder, fall_back=False) == 4
    assert "step 2 is damaged" in capsys.readouterr().err
    assert (folder.parent / "damaged" / "2.0").is_dir()
    same(folder, 4)


def test_where_falling_back_is_not_allowed_or_possible_it_refuses(folder):
    flip(arrays(folder, 4)[0])
    with pytest.raises(ValueError, match=r"step 4 is damaged.*fall_back"):
        checkpoint.newest_good(folder, fall_back=False)
    cut(arrays(folder, 2)[0])
    with pytest.raises(ValueError, match="no step is whole"):
        checkpoint.newest_good(folder, fall_back=True)


def test_damaged_steps_are_set_aside_not_deleted_and_can_be_saved_again(folder):
    flip(arrays(folder, 4)[0])
    moved = checkpoint.set_aside(folder, 2)
    assert [p.name for p in moved] == ["4.0"]
    assert (moved[0] / "default").is_dir()
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        assert saves.latest() == 2
        saves.save(4, state(4))
        saves.wait()
    assert checkpoint.newest_good(folder, fall_back=False) == (4, [])


def test_sums_that_are_broken_or_missing_are_damage(folder):
    sums = folder / "4" / "default" / checkpoint.SUMS
    for broken in ('{"a": 3}', '{"a": [1, Infinity]}', "{}", "[" * 10**5):
        sums.write_text(broken)
        assert checkpoint.newest_good(folder, fall_back=True)[0] == 2
    sums.unlink()
    assert checkpoint.newest_good(folder, fall_back=True)[0] == 2


def test_a_step_of_a_version_without_sums_passes(tmp_path):
    folder = tmp_path / "checkpoints"
    with ocp.CheckpointManager(folder) as saves:  # what the first versions did
        saves.save(4, args=ocp.args.StandardSave(state(4)))
    assert checkpoint.newest_good(folder, fall_back=False) == (4, [])
    same(folder, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused_by_name(folder, value):
    bad = state(6)
    bad["params"]["w"] = bad["params"]["w"].at[3, 4].set(value)
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        saves.save(6, bad)
        saves.wait()
        with pytest.raises(ValueError, match=r"6: \['params'\]\['w'\], 1 of 2: NaN"):
            saves.restore(6, abstract())
    with pytest.raises(ValueError, match=r"\['params'\]\['w'\], 1 of 2: NaN or Inf"):
        checkpoint.restore_field(folder, 6, abstract()["params"], "params")


@contextlib.contextmanager
def full_disk(size):
    """No file may grow beyond `size` bytes: what a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def surfaced(saves, within_s=20.0):
    """Seconds until the failure of the write in the background is raised."""
    began = time.monotonic()
    while time.monotonic() < began + within_s:
        try:
            saves.check()
        except OSError as error:
            return time.monotonic() - began, str(error)
        time.sleep(0.01)
    raise AssertionError("no error")


def test_a_full_disk_is_an_error_at_the_next_step_and_leaves_what_was_there(folder):
    saves = checkpoint.Checkpoints(folder)
    with full_disk(20_000):
        saves.save(6, state(6))
        seconds, text = surfaced(saves)
    assert seconds < 10
    for part in ("step 6", str(folder), "bytes are free", "newest whole step: 4"):
        assert part in text
    with contextlib.suppress(Exception):
        saves.close()
    assert checkpoint.newest_good(folder, fall_back=False) == (4, [])
    same(folder, 4)


@pytest.mark.parametrize("point", ["save.written", "save.merged", "save.summed"])
def test_a_write_that_fails_in_the_background_surfaces_and_is_joined(
    folder, point, monkeypatch
):
    monkeypatch.setenv("UNIGEO_FAULT", f"error@{point}")
    monkeypatch.setattr(seams, "_passed", collections.Counter())
    saves = checkpoint.Checkpoints(folder)
    saves.save(6, state(6))
    with pytest.raises(OSError, match=r"step 6 .* could not be written.*No space left"):
        saves.wait()
    monkeypatch.delenv("UNIGEO_FAULT")
    with contextlib.suppress(Exception):
        saves.close()
    assert checkpoint.newest_good(folder, fall_back=False) == (4, [])


def test_the_newest_is_the_highest_step_whatever_the_clock_said(folder):
    for path in [folder / "4", *(folder / "4").rglob("*")]:
        os.utime(path, (1, 1))
    assert checkpoint.newest_good(folder, fall_back=True)[0] == 4
    with contextlib.closing(checkpoint.Checkpoints(folder)) as saves:
        assert saves.latest() == 4


def test_a_copied_step_is_a_start_elsewhere_and_is_not_deleted(folder, tmp_path):
    other = tmp_path / "other" / "checkpoints"
    shutil.copytree(folder / "4", other / "4")
    same(other, 4)
    assert checkpoint.steps(other) == [4]


def test_a_step_without_a_parameter_that_is_asked_for_is_refused(folder):
    asked = dict(abstract()["params"])
    asked["more"] = next(iter(jax.tree.leaves(asked)))
    with pytest.raises(ValueError, match=r"checkpoint .*4: .*holds no params/more"):
        checkpoint.restore_field(folder, 4, asked, "params")


def test_reading_parameters_leaves_alone_what_another_run_is_writing(folder):
    half = folder / "6.orbax-checkpoint-tmp"
    half.mkdir()
    got = checkpoint.restore_field(folder, 4, abstract()["params"], "params")
    jax.tree.map(np.testing.assert_array_equal, got, state(4)["params"])
    assert half.is_dir()
    with contextlib.closing(checkpoint.Checkpoints(folder)):
        pass
    deadline = time.monotonic() + 20  # Orbax does it in a thread
    while half.exists():  # the run itself removes what a killed save left
        assert time.monotonic() < deadline
        time.sleep(0.01)
