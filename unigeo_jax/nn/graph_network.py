# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""jraph's GraphNetwork as an encoder of hops, which become a GraphsTuple for it.

Graphs that users hold as a GraphsTuple come in by data/graphs_tuple.py. Sums over edges
are scatters here, which `nn.graph` avoids; jraph is dormant. Needs: pip install
'unigeo-jax[jraph]'.
"""

import importlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def to_graphs_tuple(hops: Any) -> Any:
    """Returns sampled hops as a jraph.GraphsTuple: a tree of fixed size each place.

    Nodes are node numbers (b * t,), the place itself first, edges are factors
    (b * (t - 1), 1), from each neighbour to the one that drew it. A slot without a
    neighbour, whose factor is 0, repeats the one that drew. Works on numpy and inside
    jit.
    """
    jraph: Any = importlib.import_module("jraph")
    given, weight = hops
    node = [given[0]]
    for hop, factor in zip(given[1:], weight, strict=True):
        node.append(jnp.where(factor > 0, hop, node[-1][..., None]))
    batch = node[0].shape[0]
    node_bt = jnp.concatenate([jnp.reshape(hop, (batch, -1)) for hop in node], 1)
    weight_bt = jnp.concatenate([jnp.reshape(hop, (batch, -1)) for hop in weight], 1)
    total = node_bt.shape[1]
    parent, start, width = [], 0, 1
    for hop in weight:
        parent.append(start + np.repeat(np.arange(width), hop.shape[-1]))
        start += width
        width *= hop.shape[-1]
    base = np.arange(batch)[:, None] * total
    sender = base + np.arange(1, total)
    receiver = base + np.concatenate(parent)
    return jraph.GraphsTuple(
        nodes=node_bt.reshape(-1),
        edges=weight_bt.reshape(-1, 1),
        senders=jnp.asarray(sender.reshape(-1), jnp.int32),
        receivers=jnp.asarray(receiver.reshape(-1), jnp.int32),
        globals=jnp.zeros((batch, 1)),
        n_node=jnp.full(batch, total, jnp.int32),
        n_edge=jnp.full(batch, total - 1, jnp.int32),
    )


class GraphNetwork(nn.Module):
    """Battaglia et al., "Relational inductive biases", 2018, by jraph.GraphNetwork.

    Edge, node and graph updates are one-hidden-layer perceptrons of width `dim`. An
    edge whose first feature is 0 sends nothing.

    Attributes:
      nodes, dim: of the node table, whose rows stand for node numbers.
      steps: rounds of updates, each with parameters of its own.
      start: of the table, as for nn.graph.LightGCN.
    """

    nodes: int
    dim: int
    steps: int = 2
    start: Any = None

    @nn.compact
    def __call__(self, graphs: Any) -> jax.Array:
        """Returns (b, d): the last vector of each graph's first node.

        Args:
          graphs: jraph.GraphsTuple with node numbers int32 (n,) and edges (e, 1);
            graphs must not be empty.
        """
        jraph: Any = importlib.import_module("jraph")
        draw = self.start or nn.initializers.normal(self.dim**-0.5)
        table_nd = self.param("table", draw, (self.nodes, self.dim), jnp.float32)
        first = jnp.cumsum(graphs.n_node) - graphs.n_node
        real_e1 = graphs.edges[:, :1] != 0
        graphs = graphs._replace(nodes=table_nd[graphs.nodes])
        for step in range(self.steps):

            def update(name, step=step):
                def apply(*inputs):
                    # Edges: features, sender, receiver, globals. Nodes: features, sent,
                    # received, globals. Globals: nodes, edges, features.
                    flat = [x for x in jax.tree.leaves(inputs) if x is not None]
                    hidden = nn.Dense(self.dim, name=f"{name}_{step}_in")(
                        jnp.concatenate(flat, axis=-1)
                    )
                    out = nn.Dense(self.dim, name=f"{name}_{step}_out")(nn.gelu(hidden))
                    return out * real_e1 if name == "edge" else out

                return apply

            graphs = jraph.GraphNetwork(
                update_edge_fn=update("edge"),
                update_node_fn=update("node"),
                update_global_fn=update("global"),
            )(graphs)
        return graphs.nodes[first]
