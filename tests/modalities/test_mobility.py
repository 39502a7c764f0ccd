# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mobility: the whole graph and sampled hops, held-out places, wrong nodes."""

from typing import Any

import jax
import numpy as np
import pytest

from configs import mobclip
from unigeo_jax.data import adjacency, graph
from unigeo_jax.modalities import mobility

NODES, DIM = 12, 4
DATA = {"graph": "", "adjacency": "symmetric", "log1p": True, "self_loops": False}
DATA |= {"inductive": False, "fanout": ()}


@pytest.fixture
def folder(tmp_path):
    """A dataset folder with flows between 12 nodes, of which node 7 has none."""
    rng = np.random.default_rng(0)
    flow = rng.exponential(4.0, (NODES, NODES)) * (rng.random((NODES, NODES)) < 0.3)
    flow[7], flow[:, 7] = 0, 0
    origin, destination = np.nonzero(flow)
    graph.write(
        tmp_path / "graph", origin, destination, flow[origin, destination], NODES
    )
    return tmp_path


def dense(folder, **options):
    a_hat = adjacency.normalise(graph.read(folder / "graph"), **options)
    matrix = np.zeros((NODES, NODES))
    row = np.repeat(np.arange(NODES), np.diff(a_hat.indptr_n))
    matrix[row, a_hat.indices_e] = a_hat.weight_e
    return matrix


def constants(folder, nodes=range(NODES), **options):
    records = [{"node": np.int64(node)} for node in nodes]
    return mobility.constants(DATA | options, {}, folder, lambda fields, count: records)


def encoded(shared, x, table=None, **net):
    encoder = mobility.Encoder(dim=DIM, **net)
    variables = {"constants": shared}
    if table is not None:
        variables["params"] = {"table": table}
        return np.asarray(jax.jit(encoder.apply)(variables, x))
    key = {"params": jax.random.key(0)}
    return encoder.apply(variables, x, rngs=key, mutable=["params"])[1]["params"]


def table():
    return np.random.default_rng(1).normal(size=(NODES, DIM)).astype(np.float32)


@pytest.mark.parametrize("name", ["symmetric", "directed_in", "row_out"])
def test_the_whole_graph_gives_the_sum_of_dense_products(folder, name):
    shared = constants(folder, adjacency=name)
    a_hat = dense(folder, adjacency=name)
    node_b = np.array([3, 7, 0, 3], np.int32)
    got = encoded(shared, {"node": node_b}, table())
    e = table().astype(np.float64)
    np.testing.assert_allclose(
        got, (e + a_hat @ e + a_hat @ a_hat @ e)[node_b], rtol=2e-5, atol=1e-6
    )
    one = encoded(shared, {"node": node_b}, table(), layers=1)
    np.testing.assert_allclose(one, (e + a_hat @ e)[node_b], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], table()[7], rtol=1e-6)  # a node without edges


def test_the_table_starts_small_or_from_a_file(folder, tmp_path):
    shared, x = constants(folder), {"node": np.zeros(1, np.int32)}
    first = encoded(shared, x)["table"]
    assert first.shape == (NODES, DIM)
    assert np.std(first) == pytest.approx(DIM**-0.5, rel=0.3)
    np.save(tmp_path / "line.npy", table())
    start = encoded(shared, x, start=str(tmp_path / "line.npy"))["table"]
    np.testing.assert_array_equal(start, table())
    np.save(tmp_path / "other.npy", table()[1:])
    with pytest.raises(Exception, match=r"other.npy has shape \(11, 4\), allowed"):
        jax.block_until_ready(encoded(shared, x, start=str(tmp_path / "other.npy")))


def test_held_out_places_send_and_receive_nothing_in_an_inductive_graph(folder):
    train = [n for n in range(NODES) if n not in (2, 5)]
    shared = constants(folder, train, inductive=True)
    x = {"node": np.arange(NODES, dtype=np.int32)}
    plain = encoded(shared, x, table())
    moved = table()
    moved[[2, 5]] += 9
    after = encoded(shared, x, moved)
    np.testing.assert_array_equal(after[train], plain[train])
    np.testing.assert_array_equal(after[[2, 5]], moved[[2, 5]])
    assert not np.array_equal(encoded(constants(folder), x, moved)[train], plain[train])


def sampled(folder, node_b, seeds, fanout=(3, 2)):
    x = {key: np.stack([z] * len(node_b)) for key, z in mobility.spec(fanout).items()}
    x["node"] = node_b
    return mobility.gather(x, seeds, folder, **DATA | {"fanout": fanout})


def test_sampled_hops_are_a_function_of_each_rows_seed_alone(folder):
    node_b, seeds = np.arange(NODES, dtype=np.int32), np.arange(NODES, dtype=np.uint64)
    whole = sampled(folder, node_b, seeds)
    part = sampled(folder, node_b[::2], seeds[::2])
    for key, zeros in mobility.spec((3, 2)).items():
        assert whole[key].shape == (NODES, *zeros.shape)
        assert whole[key].dtype == zeros.dtype
        np.testing.assert_array_equal(part[key], whole[key][::2])
    other = sampled(folder, node_b, seeds + np.uint64(1))
    assert not np.array_equal(other["node1"], whole["node1"])
    fixed = [sampled(folder, node_b, None)["node2"] for _ in range(2)]
    np.testing.assert_array_equal(*fixed)
    assert not whole["weight1"][7].any()  # a node without edges


def test_sampled_hops_estimate_the_whole_graph_without_bias(folder):
    node_b = np.arange(NODES, dtype=np.int32)
    exact = encoded(constants(folder), {"node": node_b}, table())
    draws = 400
    seeds = np.arange(NODES * draws, dtype=np.uint64)
    x = sampled(folder, np.tile(node_b, draws), seeds, (8, 4))
    shared = constants(folder, fanout=(8, 4), whole=False)
    assert shared.keys() == {"edges_n", "sha"}
    got = encoded(shared, x, table()).reshape(draws, NODES, DIM)
    error = np.abs(got.mean(0) - exact)
    assert (error < 5 * got.std(0) / draws**0.5 + 1e-5).all()
    assert got.std(0)[0].max() > 0
    # Where the whole graph is there, evaluation takes it.
    whole = encoded(constants(folder, fanout=(8, 4)), x, table())
    np.testing.assert_allclose(whole[:NODES], exact, rtol=1e-6)


@pytest.mark.parametrize("kind", ["gat", "transformer"])
def test_attention_reads_hops_and_the_table_alone(folder, kind):
    node_b, seeds = np.arange(NODES, dtype=np.int32), np.arange(NODES, dtype=np.uint64)
    x = sampled(folder, node_b, seeds)
    shared = mobility.constants(
        DATA | {"fanout": (3, 2)},
        {"kind": kind},
        folder,
        lambda fields, count: [{"node": 0}],
    )
    assert shared.keys() == {"edges_n", "sha"}
    encoder = mobility.Encoder(dim=DIM, kind=kind, heads=2)
    variables = {"constants": shared}
    key = {"params": jax.random.key(0)}
    make = jax.jit(lambda x: encoder.apply(variables, x, rngs=key, mutable=["params"]))
    z, made = make(x)
    assert z.shape == (NODES, DIM) and np.isfinite(z).all()
    assert made["params"]["table"].shape == (NODES, DIM)
    # A node without edges hears nobody.
    np.testing.assert_allclose(z[7], made["params"]["table"][7], atol=1e-6)
    assert not np.allclose(z[0], made["params"]["table"][0], atol=1e-3)


def test_jraphs_network_reads_hops_and_lonely_nodes_hear_nobody(folder):
    pytest.importorskip("jraph")
    node_b, seeds = np.arange(NODES, dtype=np.int32), np.arange(NODES, dtype=np.uint64)
    x = sampled(folder, node_b, seeds)
    shared = constants(folder, fanout=(3, 2), whole=False)
    params: Any = encoded(shared, x, kind="graph_network")
    assert params["table"].shape == (NODES, DIM)
    encoder = mobility.Encoder(dim=DIM, kind="graph_network")

    @jax.jit
    def embed(table):
        changed = {**params, "table": table}
        return encoder.apply({"params": changed, "constants": shared}, x)

    z = embed(params["table"])
    assert z.shape == (NODES, DIM) and np.isfinite(z).all()
    # Node 7 has no edge: it hears of no other node, and no other of it.
    others = np.arange(NODES) != 7
    moved = embed(params["table"] + others[:, None])
    np.testing.assert_allclose(moved[7], z[7], atol=1e-6)
    assert (np.abs(moved - z).max(1) > 1e-3)[others].all()
    moved = embed(params["table"] + ~others[:, None])
    np.testing.assert_allclose(moved[others], z[others], atol=1e-6)
    assert np.abs(moved[7] - z[7]).max() > 1e-3
    # A neighbour is heard, from two hops away too.
    far = int(x["node2"][0, 0, 0])
    assert x["weight2"][0, 0, 0] > 0 and far != 0
    moved = embed(params["table"].at[far].add(1.0))
    assert np.abs(moved[0] - z[0]).max() > 1e-6


def test_wrong_nodes_and_options_are_refused(folder):
    with pytest.raises(ValueError, match="has node 12, the graph has 12"):
        constants(folder, range(NODES + 1))
    assert mobility.read({"node": -1}, None) is None
    assert mobility.read({}, None) is None
    with pytest.raises(ValueError, match=r"fanout \(3,\) for 2 layers"):
        mobility.check(DATA | {"fanout": (3,)}, {"layers": 2})
    with pytest.raises(ValueError, match="'gat' without fanout"):
        mobility.check(DATA, {"layers": 2, "kind": "gat"})
    with pytest.raises(ValueError, match="inductive with fanout"):
        mobility.check(DATA | {"fanout": (3, 2), "inductive": True}, {"layers": 2})


KINDS = ("air (2008)", "gravity-modelled")


@pytest.fixture
def two_kinds(tmp_path):
    """The folder of a graph of two kinds, and the dense flows of each."""
    rng = np.random.default_rng(2)
    flow_kij = rng.exponential(4.0, (2, NODES, NODES))
    flow_kij *= rng.random((2, NODES, NODES)) < 0.4
    kind, origin, destination = np.nonzero(flow_kij)
    edges = (origin, destination, flow_kij[kind, origin, destination], NODES)
    graph.write(tmp_path / "graph", *edges, kind=kind, kinds=KINDS)
    return tmp_path, flow_kij


def options(**changes):
    """Options of the tower in the config, with overrides as the command line's."""
    config: Any = mobclip.get_config("")
    flat = {f"towers.mobility.data.{key}": value for key, value in changes.items()}
    with config.unlocked():
        config.update_from_flattened_dict(flat)
    return config.towers.mobility.data.to_dict()


def strongest(flow_ij, count):
    return np.where(flow_ij >= np.sort(flow_ij, 1)[:, -count, None], flow_ij, 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, lambda air, local: air + local),
        ({"kinds": ("air",)}, lambda air, local: air),
        ({"kinds": ("gravity-modelled", "air")}, lambda air, local: air + local),
        ({"kinds": ("gravity",), "strongest": 2}, lambda _, local: strongest(local, 2)),
    ],
)
def test_one_option_takes_the_edges_of_a_kind_or_the_strongest(
    two_kinds, changes, expected
):
    folder, flow_kij = two_kinds
    more = {"adjacency": "row_out", "log1p": False, "fanout": (), **changes}
    shared = constants(folder, **options(**more))
    flow_ij = expected(*flow_kij)
    mean_ij = flow_ij / np.maximum(flow_ij.sum(1, keepdims=True), 1e-12)
    got = encoded(shared, {"node": np.arange(NODES)}, table(), layers=1)
    np.testing.assert_allclose(got, table() + mean_ij @ table(), atol=1e-5)


def test_draws_keep_to_the_edges_chosen_and_are_by_weight_or_all_alike(two_kinds):
    folder, flow_kij = two_kinds
    node_b = np.arange(NODES, dtype=np.int32)
    alike, by_weight = (
        mobility.gather(
            {"node": np.repeat(node_b, 400)},
            np.arange(400 * NODES, dtype=np.uint64),
            folder,
            **options(kinds=("air",), adjacency="row_out", log1p=False, **how),
        )
        for how in ({"weighted": False}, {"weighted": True})
    )
    mean_ij = flow_kij[0] / flow_kij[0].sum(1, keepdims=True)
    count_i = (mean_ij > 0).sum(1)
    for x, share_ij, factor_ij in (
        (alike, (mean_ij > 0) / count_i[:, None], mean_ij * count_i[:, None]),
        (by_weight, mean_ij, np.ones_like(mean_ij)),
    ):
        node_bk = x["node1"].reshape(NODES, -1)
        weight_bk = x["weight1"].reshape(NODES, -1)
        rows = np.arange(NODES)[:, None]
        factor_bk = factor_ij[rows, node_bk] / x["node1"].shape[-1]
        np.testing.assert_allclose(weight_bk, factor_bk, rtol=1e-5)
        seen_ij = np.stack([np.bincount(row, minlength=NODES) for row in node_bk])
        np.testing.assert_allclose(seen_ij / node_bk.shape[1], share_ij, atol=0.03)
        assert not seen_ij[mean_ij == 0].any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strongest": -1}, "strongest -1, allowed: edges a node, 1 or more, or 0"),
        ({"strongest": True}, "strongest True, allowed"),
        ({"kinds": "air"}, r"kinds 'air', allowed: a tuple of names.*\('air',\)"),
        ({"kinds": (1,)}, r"kinds \(1,\), allowed"),
        ({"weighted": False, "fanout": ()}, "weighted False without fanout"),
    ],
)
def test_wrong_choices_of_edges_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        mobility.check(options() | changes, {"layers": 2})


def test_a_kind_that_the_graph_has_not_is_refused_before_anything_is_drawn(two_kinds):
    for more in ({}, {"whole": False}):
        with pytest.raises(ValueError, match=r"got \['boat'\], allowed: air \(2008\)"):
            constants(two_kinds[0], **options(kinds=("air", "boat"), **more))
