# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, agree and write what they document; nothing here is timed."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import loss_worker, protocol, real_rasters, towers_worker
from unigeo_jax.losses import contrastive
from unigeo_jax.nn import text, vit

ROOT = Path(__file__).parents[1]
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "open_clip"))


def run(script: str, out: Path, *flags: str) -> dict:
    """The JSON that a benchmark writes, run as users run it."""
    ran = subprocess.run(
        [sys.executable, f"benchmarks/{script}.py", "--quick", f"--out={out}", *flags],
        cwd=ROOT,
        # As on a laptop: one device, unless the benchmark asks for more.
        env=os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return json.loads(out.read_text())


def test_the_reference_of_the_benchmark_is_the_loss_of_the_package():
    z_mbd, tau_mm = loss_worker.inputs(batch=24, width=16)
    expected = loss_worker.reference(z_mbd, tau_mm)
    weights_mm = contrastive.all_to_all(loss_worker.MODALITIES)

    def scalar(z_mbd, tau_mm):
        here_mb, cell_b = jnp.ones((5, 24), bool), jnp.arange(24)
        return contrastive.loss(z_mbd, here_mb, cell_b, weights_mm, tau_mm)[0]

    with jax.enable_x64(True):
        args = z_mbd.astype(np.float64), tau_mm.astype(np.float64)
        grads = jax.value_and_grad(scalar, argnums=(0, 1))
        value, (grad_z, grad_tau) = jax.jit(grads)(*args)
    close = {"rtol": 1e-9, "atol": 1e-14}
    np.testing.assert_allclose(expected["loss"], value, **close)
    np.testing.assert_allclose(expected["grad_z"], grad_z, **close)
    np.testing.assert_allclose(expected["grad_tau"], grad_tau, **close)


@pytest.mark.slow
def test_the_loss_benchmark_runs_and_its_variants_agree(tmp_path):
    names = ["openclip_fp32", "tiled_fp32", "tiled_bf16"]
    report = run("loss", tmp_path / "loss.json", f"--variants={','.join(names)}")
    machine = report["machine"]
    assert machine["versions"]["jax"] == jax.__version__
    assert {"commit", "cpu", "cpu_flags", "cores", "xla_flags", "load"} <= set(machine)
    assert report["quick"] and not report["forced"] and report["pairs"] == 10

    (result,) = report["sizes"].values()
    assert result["reference"] == "float64"
    rows = result["variants"]
    if not HAS_TORCH:
        lacking = rows.pop("openclip_fp32")
        assert lacking["error"].startswith("not installed: ") and len(lacking) == 1
    assert list(rows) == names[-len(rows) :]
    for name, row in rows.items():
        assert "error" not in row, row
        low = name.endswith("bf16")
        for key in ("loss_error", "grad_z_error", "grad_tau_error"):
            assert row[key] < (0.02 if low else 1e-5)
        assert (row["grad_z_error"] > 1e-4) == low
        assert len(row["times_s"]) == report["repeats"] == 2
        assert 0 < row["min_s"] <= row["median_s"] and row["first_s"] > 0
        # So little here that memory freed before may hold it.
        assert row["peak_bytes"] >= row["temp_bytes"] >= 0 and row["device"] == "cpu"
        if name.startswith("tiled"):
            assert row["compile_s"] > 0 and row["xla_temp_bytes"] > 0
    assert len(result["ratios"]) == 2 * HAS_TORCH


@pytest.mark.parametrize("tower", ["image", "text"])
def test_the_weights_of_the_towers_benchmark_fill_the_towers_of_the_package(tower):
    given = towers_worker.weights(tower, 2, vocab=100)
    x, _ = towers_worker.inputs(tower, 1, vocab=100)
    net = vit.ViT(depth=2)
    if tower == "text":
        net = text.TextTransformer(dim=768, vocab_size=100, depth=2)
    expected = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    got = towers_worker.tree(tower, 2, given)
    assert jax.tree.map(np.shape, got) == jax.tree.map(lambda s: s.shape, expected)


@pytest.mark.slow
def test_the_towers_benchmark_runs_and_its_variants_agree(tmp_path):
    report = run("towers", tmp_path / "towers.json", "--towers=text", "--steps=train")
    assert list(report["cases"]) == ["text/train/float32", "text/train/bfloat16"]
    for case, result in report["cases"].items():
        rows, low = result["variants"], case.endswith("bfloat16")
        assert rows["ours"]["per_s"] > 0 and rows["ours"]["peak_bytes"] >= 0
        if "error" in rows["torch_eager"]:
            assert rows["torch_eager"]["error"].startswith("not installed: ")
            continue
        assert result["ratio"] > 0
        for name, row in rows.items():
            exact = name == "torch_eager" and not low
            for key in ("out_error", "grad_error"):
                assert (row[key] == 0) == exact and row[key] < (0.03 if low else 1e-5)


@pytest.mark.slow
def test_the_scaling_benchmark_counts_what_each_form_sends(tmp_path):
    forms = ["naive", "plain", "tiled", "ring"]
    report = run("scaling", tmp_path / "scaling.json", f"--forms={','.join(forms)}")
    rows = {row["form"]: row for row in report["rows"]}
    assert list(rows) == forms
    for row in rows.values():
        assert row["fits"] and row["devices"] == 8 and row["topology"] == "cpu"
        assert row["compile_s"] > 0 and row["temp_bytes"] > 0
        assert row["argument_bytes"] > 0 and row["output_bytes"] > 0
    count = {form: row["operations"] for form, row in rows.items()}
    assert count["naive"]["all-gather"] > 10
    assert count["plain"]["all-gather"] <= 4
    # Embeddings, presence, cells; on the way back, one number a pair and place.
    assert count["tiled"]["all-gather"] <= 4
    assert count["tiled"]["reduce-scatter"] <= 1
    assert count["ring"]["all-gather"] == count["ring"]["reduce-scatter"] == 0
    assert count["ring"]["collective-permute"] > 0
    # In loops: a block goes around all devices.
    runs = rows["ring"]["collectives"]["collective-permute"]
    assert runs["count"] >= 7 and runs["wire"] > 0


@pytest.mark.slow
def test_the_graph_benchmark_runs_and_its_variants_agree(tmp_path):
    report = run("graph", tmp_path / "graph.json")
    assert list(report["cases"]) == ["forward", "both"]
    for case, rows in report["cases"].items():
        for name, row in rows.items():
            if "error" in row:
                assert row["error"].startswith("not installed: ") and "ours" not in name
                continue
            assert row["out_error"] < 1e-5 and row["medges_per_s"] > 0
            assert ("grad_error" in row) == (case == "both")
            assert row.get("grad_error", 0.0) < 1e-5
        assert {"ours_buckets", "scipy_csr"} <= set(report["ratios"][case])
    for row in report["sampler"].values():
        assert min(row.values()) > 0


@pytest.mark.slow
def test_the_synthetic_nation_is_written_and_trained(tmp_path):
    report = run("graph", tmp_path / "graph.json", "--scale", "--edges=20000")
    assert report["cells"] == 195_574 and report["edges"] >= 20_000
    assert report["entries"] > report["edges"]
    for name in ("sampled", "full"):
        losses = report[f"{name}_losses"]
        assert losses[-1] < losses[0]
        assert report[f"{name}_step_s"] > 0


def test_a_program_too_large_for_the_chip_becomes_figures():
    said = (
        "Traceback ...\njax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Ran out of"
        " memory on HBM, the total memory required for HLO temporaries (84.93G)"
        " exceeds available HBM (15.75G).\n"
    )
    row = protocol.why(said)
    assert row["asked_bytes"] == round(84.93 * 2**30)
    assert row["available_bytes"] == round(15.75 * 2**30)
    assert row["error"].startswith("jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED")
    assert protocol.why("") == {"error": "no message"}


def test_a_busy_machine_is_refused_and_force_lets_it_pass():
    with pytest.raises(ValueError, match=r"got 0\.80, allowed: at most 0\.5"):
        protocol.check_idle(0.8, force=False)
    protocol.check_idle(0.8, force=True)
    protocol.check_idle(0.5, force=False)


def test_variants_take_turns_and_one_that_fails_stops_nobody(monkeypatch):
    monkeypatch.setattr(protocol, "PAUSE_S", 0)
    asked = []

    class Fake:
        def __init__(self, name, answers):
            self.name, self.answers = name, iter(answers)

        def ask(self, do):
            asked.append(self.name)
            return next(self.answers)

    fine = [{"seconds": 1.0}, {"seconds": 3.0}, {"seconds": 2.0}]
    broken = [{"seconds": 1.0}, {"error": "gone"}, {"error": "gone"}]
    workers = {"a": Fake("a", fine), "b": Fake("b", broken)}
    times = protocol.take_turns(workers, repeats=3)
    assert asked == list("ababab")
    assert times == {"a": [1.0, 3.0, 2.0], "b": [1.0]}


def test_a_worker_that_fails_or_dies_answers_with_the_reason():
    spec = {"side": "ours", "form": "sonar", "dtype": "float32"}
    worker = protocol.Worker("benchmarks.loss_worker", spec | {"batch": 8, "width": 4})
    assert "sonar" in worker.ask("start")["error"]
    assert "sonar" in worker.ask("time")["error"]
    worker.close()
    worker = protocol.Worker("benchmarks.no_such_module", {})
    assert worker.ask("start") == {"error": "the process ended with code 1"}
    assert worker.ask("time") == {"error": "the process ended with code 1"}
    worker.close()


def test_the_peak_of_a_run_counts_what_the_run_frees_again():
    before = np.ones(8_000_000)  # held before and after: not counted

    def work():
        for _ in range(3):
            freed = np.ones(8_000_000)
        return freed[:2] + before[:2]

    growth, out = protocol.host_growth(work)
    # The new one is there before the old one goes.
    assert 120e6 < growth < 140e6
    assert out.tolist() == [2, 2]


def test_a_raster_is_taken_out_of_the_one_package_that_has_it(tmp_path):
    with tarfile.open(tmp_path / "geo-1.0.tar.gz", "w:gz") as archive:
        for name in ("geo-1.0/readme", "geo-1.0/data/dem.tif"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    found = real_rasters.member(tmp_path, "geo", "dem.tif")
    assert found == b"geo-1.0/data/dem.tif"
    for package, name in (("geo", "em.tif"), ("other", "dem.tif")):
        with pytest.raises(ValueError, match=r"allowed: one sdist with a file"):
            real_rasters.member(tmp_path, package, name)
