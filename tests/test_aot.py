# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading compiled programs, reporting on a step, and the command that does it."""

import functools
import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from configs import ablations
from unigeo_jax import sharding
from unigeo_jax.aot import cost, hlo, report

ROOT = Path(__file__).parents[1]
PAIR = "configs/ablations.py:variant=pair_text_coords,tiny"


def compiled_text(f, *args):
    return str(jax.jit(f).lower(*args).compile().as_text())


def nested(x, w):
    """A product 3 times in a loop of 5, and 7 times in a loop from 3 to 10."""

    def outer(x, _):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=3)[0], None

    x, _ = jax.lax.scan(outer, x, None, length=5)
    return jax.lax.fori_loop(3, 10, lambda _, x: jnp.sin(x) @ w, x)


def test_products_in_nested_loops_count_every_trip():
    text = compiled_text(nested, jnp.ones((8, 16)), jnp.ones((16, 16)))
    one = 2 * 8 * 16 * 16
    assert cost.read(text).flops == (3 * 5 + 7) * one
    assert cost.read(text).unknown_loops == 0


def test_trips_are_read_from_the_condition_where_the_compiler_does_not_say():
    text = compiled_text(nested, jnp.ones((8, 16)), jnp.ones((16, 16)))
    assert "known_trip_count" in text
    silent = text.replace("known_trip_count", "nothing")
    assert cost.read(silent).flops == cost.read(text).flops


def test_a_loop_of_unknown_length_counts_once_and_is_reported():
    def until_small(x):
        return jax.lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ x, x)

    found = cost.read(compiled_text(until_small, jnp.ones((16, 16))))
    assert (found.unknown_loops, found.flops) == (1, 2 * 16**3)


def test_a_program_in_parts_is_what_jax_says_it_is():
    def f(x, w):
        return jnp.tanh(x @ w).sum()

    args = jnp.ones((64, 128)), jnp.ones((128, 256))
    program = jax.jit(jax.grad(f)).lower(*args).compile()
    found = cost.read(program.as_text())
    assert found.flops == 2 * 2 * 64 * 128 * 256  # forward, and back to x alone
    analysis = program.cost_analysis()
    assert found.traffic == pytest.approx(analysis["bytes accessed"], rel=0.1)


def test_every_collective_is_counted_with_its_bytes_in_loops_too(mesh):
    def body(_, x):
        y = jax.lax.all_gather(x, "data")  # (4, 4, 16)
        z = jax.lax.psum_scatter(y.sum(0) * x.sum(), "data", tiled=True)  # (1, 16)
        x = jax.lax.ppermute(x + z.sum(), "data", [(i, (i + 1) % 4) for i in range(4)])
        return jax.lax.all_to_all(x, "data", 0, 0, tiled=True)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False
    )
    def f(x):
        return jax.lax.psum(jax.lax.fori_loop(0, 6, body, x), "data")

    found = cost.read(compiled_text(f, jnp.ones((16, 16)))).collectives
    block = 4 * 16 * 4  # bytes of a device's (4, 16)
    assert {k: (c.count, c.bytes, c.wire) for k, c in found.items()} == {
        "all-gather": (6, 6 * 4 * block, 6 * 3 * block),
        "reduce-scatter": (6, 6 * block, 6 * block * 3 / 4),
        "collective-permute": (6, 6 * block, 6 * block),
        "all-to-all": (6, 6 * block, 6 * block * 3 / 4),
        "all-reduce": (1, block, 2 * block * 3 / 4),
    }


# As TPU programs write them: a gather in two, one in three fusions of a chain, a
# scattered sum as a fusion, a reduction between slices as a message to the host, a
# batched product as a convolution, on-chip memory as S(1).
TPU_PROGRAM = """\
HloModule step, num_partitions=8

%all-reduce-scatter.1 (input: bf16[8,128]) -> bf16[2,128] {
  %input = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-reduce.1 = bf16[8,128]{1,0} all-reduce(%input), replica_groups=[2,4]<=[8]
  %zero = s32[] constant(0)
  ROOT %slice = bf16[2,128]{1,0:S(1)} dynamic-slice(%all-reduce.1, %zero, %zero)
}

%chained (shard: f32[16]) -> f32[64] {
  %shard = f32[16]{0} parameter(0)
  ROOT %all-gather.1 = f32[64]{0} all-gather(%shard), \
replica_groups=mesh['a'=2,'b'=4] {'b'}, frontend_attributes={chain_id="5"}
}

ENTRY %main (p: bf16[8,128], q: f32[16], r: f32[16,4,4,2]) -> f32[16,4,4,4] {
  %p = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %q = f32[16]{0} parameter(1)
  %r = f32[16,4,4,2]{3,2,1,0} parameter(2)
  %scattered = bf16[2,128]{1,0:S(1)} fusion(%p), kind=kCustom, \
calls=%all-reduce-scatter.1
  %first = f32[64]{0} fusion(%q), kind=kCustom, calls=%chained
  %second = f32[64]{0} fusion(%q), kind=kCustom, calls=%chained
  %all-gather-start = (f32[16]{0}, f32[128]{0}) all-gather-start(%q), \
replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %all-gather-done = f32[128]{0} all-gather-done(%all-gather-start)
  %after = token[] after-all()
  %send = (f32[16]{0}, u32[], token[]) send(%q, %after), is_host_transfer=true, \
frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %dot = f32[16,4,4,4]{3,2,1,0} convolution(%r, %r), \
window={size=16x4 stride=15x3 lhs_dilate=16x4}, dim_labels=01bf_01oi->01bf
}
"""


def test_what_a_tpu_program_splits_up_counts_once():
    found = cost.read(TPU_PROGRAM)
    assert {k: (c.count, c.bytes, c.wire) for k, c in found.collectives.items()} == {
        "reduce-scatter": (1, 2048, 2048 * 3 / 4),
        "all-gather": (2, 4 * 64 + 8 * 64, 3 * 64 + 7 * 64),
        "dcn-all-reduce": (1, 64, 64),
    }
    assert found.flops == 2 * 16 * 4 * 4 * 4 * 2  # 64 products of (4, 2) and (2, 4)


# As TPU programs write a step of a loop over tiles: a fusion in a fusion takes a slice
# of a large array, and one that ends in an update writes no more than that.
NESTED = """\
HloModule step, num_partitions=1

%cut (x: bf16[64,128], i: s32[]) -> bf16[8,128] {
  %x = bf16[64,128]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %tile = bf16[8,128]{1,0} dynamic-slice(%x, %i, %zero)
}

%put (y: f32[64,128], t: f32[8,128], j: s32[]) -> f32[64,128] {
  %y = f32[64,128]{1,0} parameter(0)
  %t = f32[8,128]{1,0} parameter(1)
  %j = s32[] parameter(2)
  %none = s32[] constant(0)
  ROOT %new = f32[64,128]{1,0} dynamic-update-slice(%y, %t, %j, %none)
}

%tile_step (a: bf16[64,128], k: s32[], b: f32[64,128]) -> f32[64,128] {
  %a = bf16[64,128]{1,0} parameter(0)
  %k = s32[] parameter(1)
  %b = f32[64,128]{1,0} parameter(2)
  %low = bf16[8,128]{1,0} fusion(%a, %k), kind=kLoop, calls=%cut
  %high = f32[8,128]{1,0} convert(%low)
  ROOT %sum = f32[64,128]{1,0} fusion(%b, %high, %k), kind=kLoop, calls=%put
}

ENTRY %main (p: bf16[64,128], q: s32[], r: f32[64,128]) -> f32[64,128] {
  %p = bf16[64,128]{1,0} parameter(0)
  %q = s32[]{:S(6)} parameter(1)
  %r = f32[64,128]{1,0} parameter(2)
  ROOT %out = f32[64,128]{1,0} fusion(%p, %q, %r), kind=kOutput, calls=%tile_step
}
"""


def test_slices_in_fusions_of_a_fusion_are_read_and_written_in_their_own_size():
    # 8 rows of bfloat16 and the index are read, 8 rows of float32 written.
    assert cost.read(NESTED).traffic == 8 * 128 * 2 + 4 + 8 * 128 * 4


def test_the_products_of_a_convolution_are_those_that_meet_an_input():
    rng = random.Random(0)
    for _ in range(300):
        outputs, taps, inputs, pad, stride, hole, spread = rng.choices(range(1, 9), k=7)
        size = (inputs - 1) * hole + 1
        places = [
            o * stride + k * spread - pad for o in range(outputs) for k in range(taps)
        ]
        wanted = sum(0 <= at < size and at % hole == 0 for at in places)
        got = cost._products(outputs, taps, size, pad, stride, hole, spread)
        assert got == wanted


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="without ENTRY"):
        hlo.parse("no program")


def test_forward_flops_of_the_trace_are_those_of_the_program(mesh):
    def f(x, w):
        x = jax.lax.scan(
            jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None)), x, w, length=3
        )[0]
        return jax.lax.cond(x.sum() > 0, lambda x: x @ w[0], lambda x: x, x)

    args = jnp.ones((8, 16)), jnp.ones((3, 16, 16))
    whole = report.forward_flops(jax.make_jaxpr(f)(*args).jaxpr)
    assert whole == cost.read(compiled_text(f, *args)).flops == 4 * 2 * 8 * 16 * 16
    parts = jax.shard_map(
        f, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"), check_vma=False
    )
    twice = report.forward_flops(jax.make_jaxpr(parts)(*args).jaxpr)
    assert twice == 2 * whole  # each row is on both devices of an fsdp pair


class Fails:
    """Stands in for a lowered program that no compiler finishes."""

    def __init__(self, message):
        self.message = message

    def compile(self, **_):
        raise jax.errors.JaxRuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "asked", "available"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required"
            " for HLO temporaries (1.50T) exceeds available HBM (15.75G).",
            1.5 * 2**40,
            15.75 * 2**30,
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 97.45G of"
            " 15.75G hbm. Exceeded hbm capacity by 81.70G.",
            97.45 * 2**30,
            15.75 * 2**30,
        ),
        ("RESOURCE_EXHAUSTED: too much", None, 30.75 * 2**30),
    ],
)
def test_a_program_that_is_too_large_does_not_fit(tmp_path, message, asked, available):
    found, text = report._compile(Fails(message), tmp_path, report.CHIPS["v4"])
    assert found["fits"] is False
    assert found["hbm"] == {"peak": asked, "available": available}
    assert text == ""
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        report._compile(Fails("INTERNAL: a fault"), tmp_path, report.CHIPS["v4"])


def test_the_report_of_a_config_says_what_its_step_takes():
    config = ablations.get_config("variant=pair_text_coords,tiny")
    mesh = sharding.make_mesh(fsdp=2)
    found = report.report(config, mesh, report.CHIPS["v5e"])
    assert found["fits"]
    assert found["unknown_loops"] == 0
    memory = found["hbm"]
    assert memory["peak"] >= memory["arguments"] > 4 * found["parameters"] / 2
    # The compiled step does more than three forward passes' products: Muon's too.
    assert found["flops_per_chip"] > found["model_flops"] / 8 > 0
    assert {"all-gather", "all-reduce"} <= found["collectives_per_chip"].keys()
    times = found["roofline"]
    assert times["step_s"] == max(times[k] for k in ("compute_s", "hbm_s", "ici_s"))
    assert times["mfu"] == pytest.approx(
        found["model_flops"] / (8 * 197e12 * times["step_s"])
    )
    with pytest.raises(ValueError, match="a multiple of 8 devices"):
        config.batch = 12
        report.report(config, mesh, report.CHIPS["v5e"])


def run(*flags, config=PAIR):
    command = [sys.executable, "launch/compile_tpu.py", f"--config={config}", *flags]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--topology=v5e:4by4"], ["got v5e:4by4", "v5e:AxB", "v5p:AxBxC"]),
        (["--topology=v5e:2x2x2"], ["got v5e:2x2x2", "v5e:AxB"]),
        (["--topology=h100:8"], ["got h100:8", "v6e:AxB"]),
        ([], ["--topology: got None"]),
        (["--topology=v5e:4x4", "--slices=0"], ["--slices: got 0"]),
        (["--topology=v5e:4x4", "--config.stepz=3"], ["stepz"]),
    ],
)
def test_wrong_usage_gives_one_clear_error(flags, parts):
    done = run(*flags)
    assert done.returncode == 2, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="is there")
def test_without_libtpu_the_error_says_how_to_get_it():
    done = run("--topology=v5e:4x4")
    assert done.returncode == 1
    assert "pip install 'unigeo-jax[tpu]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_step_compiles_for_tpus_that_are_not_there(tmp_path):
    pytest.importorskip("libtpu")
    out = tmp_path / "report.json"
    flags = ("--topology=v5e:2x2", "--slices=2", "--config.optim.name=adamw")
    done = run(*flags, "--config.mesh.fsdp=2", f"--out={out}")
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found == json.loads(done.stdout)
    assert found["fits"]
    assert found["mesh"] == {"data": 4, "fsdp": 2}
    assert found["dtype"] == "bfloat16"
    assert found["unknown_loops"] == 0
    assert 0 < found["hbm"]["peak"] < found["hbm"]["available"]
    assert found["collectives_per_chip"]["dcn-all-reduce"]["bytes"] > 0


def test_on_tpus_the_gradients_of_a_large_batch_are_scattered_not_all_reduced():
    pytest.importorskip("libtpu")
    spec = {"topology": "v5e:2x4", "form": "tiled", "dtype": "bfloat16"}
    spec |= {"batch": 32768, "width": 768}
    tpu = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling_worker", json.dumps(spec)],
        cwd=ROOT,
        env=os.environ | tpu | {"TPU_ACCELERATOR_TYPE": "v5litepod-8"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["collectives"]
    embeddings = 5 * 32768 * 768 * 2
    assert found["reduce-scatter"]["count"] == 1
    assert found["reduce-scatter"]["bytes"] == embeddings
    assert found["all-reduce"]["bytes"] < embeddings / 50


def test_a_topology_that_no_tpu_has_is_refused():
    pytest.importorskip("libtpu")
    done = run("--topology=v5e:3x5")
    assert done.returncode == 2
    assert "got v5e:3x5" in done.stderr
    assert "Traceback" not in done.stderr
