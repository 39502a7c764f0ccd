# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A coordinate encoder as an ONNX file: its traced program, operation by operation.

Needs the package `onnx` (extra `onnx`). Input `latlon` float32 (b, 2) in degrees, with
year and month behind, (b, 4), of an encoder with times; output `z` float32 (b, d); b is
open. Operations that a coordinate encoder has are translated; another one is an error
that names it.
"""

import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from unigeo_jax import extras

OPSET, IR = 18, 9
_SAME = {
    **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"},
    **{"max": "Max", "min": "Min", "pow": "Pow", "neg": "Neg", "exp": "Exp"},
    **{"log": "Log", "tanh": "Tanh", "erf": "Erf", "sin": "Sin", "cos": "Cos"},
    **{"asin": "Asin", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign", "round": "Round"},
    **{"floor": "Floor", "logistic": "Sigmoid", "and": "And", "or": "Or"},
    **{"not": "Not", "eq": "Equal", "lt": "Less", "le": "LessOrEqual"},
    **{"gt": "Greater", "ge": "GreaterOrEqual", "stop_gradient": "Identity"},
    **{"copy": "Identity", "optimization_barrier": "Identity"},
}
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def write(
    path: pathlib.Path,
    function: Callable[[jax.Array], jax.Array],
    about: Mapping,
    width: int = 2,
) -> None:
    """Write x (b, `width`) -> (b, d) to `path`.

    Raises:
      ValueError: the package `onnx` is not installed, or an operation has no
        translation.
    """
    onnx = extras.need("onnx", "--format onnx", extra="onnx")
    (rows,) = export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((rows, width), jnp.float32)
    closed = jax.make_jaxpr(function)(x)
    graph = _Graph(onnx)
    (z,) = graph.evaluate(closed.jaxpr, closed.consts, ["latlon"])
    graph.add("Identity", [z], output="z")
    value = onnx.helper.make_tensor_value_info
    real, dim = onnx.TensorProto.FLOAT, int(closed.out_avals[0].shape[1])
    made = onnx.helper.make_graph(
        graph.nodes,
        about["model_id"],
        [value("latlon", real, ["b", width])],
        [value("z", real, ["b", dim])],
        graph.constants,
    )
    model = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="unigeo_jax",
        producer_version=about["package_version"],
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _refuse(what: str) -> ValueError:
    return ValueError(
        f"--format onnx: no translation of {what}; allowed: --format=jax,safetensors"
    )


class _Graph:
    """Nodes and constants; a value is a node's name (str) or a numpy array."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._number = 0
        self._known: dict[tuple, str] = {}

    def add(
        self, op: str, inputs: Sequence[Any], output: str = "", **attributes: Any
    ) -> str:
        """Append a node; arrays among its inputs become constants."""
        self._number += 1
        name = output or f"v{self._number}"
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        node = self._onnx.helper.make_node(op, names, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def _constant(self, array: Any) -> str:
        """Name of a constant; the same numbers, such as a map's, are kept once."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        digest = hashlib.sha256(array.tobytes()).digest()
        name = f"c{len(self.constants)}"
        known = self._known.setdefault((array.dtype, array.shape, digest), name)
        if known == name:
            self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return known

    def evaluate(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list:
        """Translate a jaxpr; what depends on no input is computed here."""
        env: dict[Any, Any] = {}

        def read(atom: Any) -> Any:
            return np.asarray(atom.val) if hasattr(atom, "val") else env[atom]

        known = [c if isinstance(c, str) else np.asarray(c) for c in consts]
        env.update(zip(jaxpr.constvars, known, strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))
        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            outputs = self._equation(equation, inputs)
            env.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list) -> Sequence[Any]:
        name, params = equation.primitive.name, equation.params
        shape = equation.outvars[0].aval.shape
        fixed = all(isinstance(n, int) for n in shape)
        if name == "scan":
            return self._scan(params, inputs)
        for key in _INNER:
            if key in params:
                inner = params[key]
                consts = getattr(inner, "consts", ())
                return self.evaluate(getattr(inner, "jaxpr", inner), consts, inputs)
        if fixed and not any(isinstance(x, str) for x in inputs):
            out = equation.primitive.bind(*map(jnp.asarray, inputs), **params)
            out = out if equation.primitive.multiple_results else [out]
            return [np.asarray(x) for x in out]
        if name in _SAME:
            return [self.add(_SAME[name], inputs)]
        translate = getattr(self, f"_{name}", None)
        if translate is None:
            raise _refuse(f"the operation {name!r}")
        return [translate(inputs, params, equation)]

    def _scan(self, params: Mapping, inputs: list) -> list:
        """Unroll: over blocks of a transformer, or degrees of harmonics."""
        fixed, carried = params["num_consts"], params["num_carry"]
        consts, carry = inputs[:fixed], inputs[fixed : fixed + carried]
        closed, steps = params["jaxpr"], range(params["length"])
        rows: dict[int, list] = {}
        for i in reversed(steps) if params["reverse"] else steps:
            now = [self._row(x, i) for x in inputs[fixed + carried :]]
            found = self.evaluate(closed.jaxpr, closed.consts, [*consts, *carry, *now])
            carry, rows[i] = found[:carried], found[carried:]
        kept = zip(*(rows[i] for i in steps), strict=True)
        return [*carry, *map(self._pile, kept)]

    def _row(self, x: Any, i: int) -> Any:
        if not isinstance(x, str):
            return x[i]
        return self.add("Gather", [x, np.array(i, np.int64)], axis=0)

    def _pile(self, rows: Sequence[Any]) -> Any:
        """Rows as one array of one more axis, the first."""
        if not any(isinstance(row, str) for row in rows):
            return np.stack(rows)
        axis = np.array([0])
        return self.add(
            "Concat", [self.add("Unsqueeze", [row, axis]) for row in rows], axis=0
        )

    def _dims(self, shape: Sequence[Any]) -> Any:
        """An int64 tensor of a shape; one open dimension, the rows, is read."""
        if all(isinstance(n, int) for n in shape):
            return np.array(shape, np.int64)
        rows = self.add("Shape", ["latlon"], start=0, end=1)
        parts = []
        for n in shape:
            if isinstance(n, int):
                parts.append(np.array([n], np.int64))
                continue
            times, _, symbol = str(n).rpartition("*")
            if symbol != "b" or not (times or "1").isdigit():
                raise _refuse(f"the size {n}")
            factor = np.array([int(times or 1)], np.int64)
            parts.append(self.add("Mul", [rows, factor]))
        return self.add("Concat", parts, axis=0)

    def _reshape(self, inputs: list, params: Mapping, equation: Any) -> str:
        shape = equation.outvars[0].aval.shape
        dims = np.array([n if isinstance(n, int) else -1 for n in shape], np.int64)
        return self.add("Reshape", [inputs[0], dims])

    _squeeze = _expand_dims = _reshape

    def _broadcast_in_dim(self, inputs: list, params: Mapping, equation: Any) -> str:
        shape = equation.outvars[0].aval.shape
        own = equation.invars[0].aval.shape
        flat: list[Any] = [1] * len(shape)
        for axis, n in zip(params["broadcast_dimensions"], own, strict=True):
            flat[axis] = n if isinstance(n, int) else -1
        x = self.add("Reshape", [inputs[0], np.array(flat, np.int64)])
        # A 1 asks Expand to keep what is there.
        wanted = [1 if k == -1 else n for k, n in zip(flat, shape, strict=True)]
        return self.add("Expand", [x, self._dims(wanted)])

    def _transpose(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Transpose", inputs, perm=list(params["permutation"]))

    def _concatenate(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Concat", inputs, axis=params["dimension"])

    def _stack(self, inputs: list, params: Mapping, equation: Any) -> str:
        axis = params.get("axis", 0)
        parts = [self.add("Unsqueeze", [x, np.array([axis])]) for x in inputs]
        return self.add("Concat", parts, axis=axis)

    def _slice(self, inputs: list, params: Mapping, equation: Any) -> str:
        axes, steps = [], params["strides"] or [1] * len(params["start_indices"])
        for axis, n in enumerate(equation.invars[0].aval.shape):
            if isinstance(n, int):
                axes.append(axis)
        bounds = (params["start_indices"], params["limit_indices"], steps)
        first, last, step = (np.array([b[a] for a in axes], np.int64) for b in bounds)
        return self.add("Slice", [inputs[0], first, last, np.array(axes), step])

    def _rev(self, inputs: list, params: Mapping, equation: Any) -> str:
        axes = np.array(params["dimensions"], np.int64)
        back = np.full(len(axes), -1)
        return self.add("Slice", [inputs[0], back, back * 2**31, axes, back])

    def _gather(self, inputs: list, params: Mapping, equation: Any) -> str:
        """Of one window at a fixed place, x[:, 2:] or x[3, 1:]; or rows of a table."""
        axes, at = list(params["dimension_numbers"].start_index_map), inputs[1]
        if isinstance(at, str) or np.size(at) != len(axes):
            return self._rows(inputs, params, equation)
        first = np.ravel(at).astype(np.int64)
        last = first + np.array([params["slice_sizes"][a] for a in axes], np.int64)
        x = self.add("Slice", [inputs[0], first, last, np.array(axes, np.int64)])
        return self._reshape([x], params, equation)

    def _rows(self, inputs: list, params: Mapping, equation: Any) -> str:
        """What jnp.take(x, rows_b, axis=0, mode="clip") is traced as."""
        how, own = params["dimension_numbers"], equation.invars[0].aval.shape
        whole = (1, *own[1:]) == tuple(params["slice_sizes"])
        first = how.start_index_map == how.collapsed_slice_dims == (0,)
        clip = str(params["mode"]).endswith("CLIP")
        one = len(equation.invars[1].aval.shape) == 2
        if not (whole and first and clip and one):
            raise _refuse("a gather but of whole rows, clipped")
        at = self.add("Reshape", [inputs[1], np.array([-1], np.int64)])
        at = self.add("Cast", [at], to=self._onnx.TensorProto.INT64)
        last = np.array(own[0] - 1, np.int64)
        at = self.add("Clip", [at, np.array(0, np.int64), last])
        return self.add("Gather", [inputs[0], at], axis=0)

    def _convert_element_type(self, inputs: list, params: Mapping, eqn: Any) -> str:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
        return self.add("Cast", inputs, to=kind)

    def _integer_pow(self, inputs: list, params: Mapping, equation: Any) -> str:
        power, x = params["y"], inputs[0]
        out = x
        for _ in range(abs(power) - 1):
            out = self.add("Mul", [out, x])
        return out if power > 0 else self.add("Reciprocal", [out])

    def _square(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Mul", [inputs[0], inputs[0]])

    def _rsqrt(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Reciprocal", [self.add("Sqrt", inputs)])

    def _select_n(self, inputs: list, params: Mapping, equation: Any) -> str:
        which, no, yes = inputs
        return self.add("Where", [which, yes, no])

    def _ne(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Not", [self.add("Equal", inputs)])

    def _erfc(self, inputs: list, params: Mapping, equation: Any) -> str:
        one = np.ones((), np.float32)
        return self.add("Sub", [one, self.add("Erf", inputs)])

    def _reduce_sum(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self._reduce("ReduceSum", inputs, params)

    def _reduce_max(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self._reduce("ReduceMax", inputs, params)

    def _reduce_prod(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self._reduce("ReduceProd", inputs, params)

    def _rem(self, inputs: list, params: Mapping, equation: Any) -> str:
        return self.add("Mod", inputs, fmod=1)  # the sign of the dividend, as here

    def _clamp(self, inputs: list, params: Mapping, equation: Any) -> str:
        low, x, high = inputs
        return self.add("Min", [self.add("Max", [x, low]), high])

    def _reduce(self, op: str, inputs: list, params: Mapping) -> str:
        return self.add(op, [inputs[0], np.array(params["axes"])], keepdims=0)

    def _dot_general(self, inputs: list, params: Mapping, equation: Any) -> str:
        (left, right), (left_batch, right_batch) = params["dimension_numbers"]
        ranks = [len(v.aval.shape) for v in equation.invars]
        if ranks == [2, 2] and (tuple(left), tuple(right)) == ((1,), (0,)):
            return self.add("MatMul", inputs)
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        names = [[next(letters) for _ in range(rank)] for rank in ranks]
        for pairs in ((left, right), (left_batch, right_batch)):
            for a, b in zip(*pairs, strict=True):
                names[1][b] = names[0][a]
        batch = [names[0][a] for a in left_batch]
        gone = {names[0][a] for a in left} | set(batch)
        rest = [c for side in names for c in side if c not in gone]
        words = ["".join(side) for side in names]
        out = "".join([*batch, *rest])
        return self.add("Einsum", inputs, equation=f"{words[0]},{words[1]}->{out}")
