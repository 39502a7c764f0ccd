# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reads compiled programs: FLOPs, memory traffic and collectives of one device.

XLA's own cost analysis counts the body of a loop once. Here every count is multiplied
by the loop's trips, nested loops included, and a collective that the compiler splits
in a start, steps and a done counts once. The input is `compiled.as_text()`.
"""

import collections
import dataclasses
import math
import re

from unigeo_jax.aot import hlo

COLLECTIVES = (
    *("all-gather", "all-reduce", "reduce-scatter", "all-to-all"),
    *("collective-permute", "collective-broadcast", "ragged-all-to-all"),
)
# Neither read nor write memory by themselves, or are counted elsewhere.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "conditional", "call", "async-start", "async-update", "async-done"),
    *("partition-id", "replica-id", "opt-barrier", "iota", "recv", "domain"),
}
_SLICES = {"dynamic-slice", "slice", "gather", "slice-start", "dynamic-slice-start"}
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # opcode: operand of the update


@dataclasses.dataclass
class Collective:
    """What one kind of collective costs a device.

    count: how often it runs. bytes: the larger of what goes in and what comes out.
    wire: bytes that a device sends if it runs as a ring.
    """

    count: float = 0
    bytes: float = 0
    wire: float = 0


@dataclasses.dataclass
class Cost:
    """Counts of one device and one run.

    flops: of dots and convolutions, two a multiply-add. traffic: bytes read from and
    written to main memory, each operand of each fused operation once. collectives: by
    kind; `dcn-<kind>` are those that leave a TPU slice. uncounted: custom kernels by
    name: their FLOPs are not known here. unknown_loops: loops counted once.
    """

    flops: float = 0
    traffic: float = 0
    collectives: dict[str, Collective] = dataclasses.field(default_factory=dict)
    uncounted: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    unknown_loops: int = 0

    def add(self, other: "Cost", times: int = 1) -> None:
        self.flops += times * other.flops
        self.traffic += times * other.traffic
        self.unknown_loops += other.unknown_loops
        for kind, more in other.collectives.items():
            self.collect(
                kind, times * more.count, times * more.bytes, times * more.wire
            )
        for name, count in other.uncounted.items():
            self.uncounted[name] += times * count

    def collect(self, kind: str, count: float, payload: float, wire: float) -> None:
        mine = self.collectives.setdefault(kind, Collective())
        mine.count += count
        mine.bytes += payload
        mine.wire += wire


def read(text: str) -> Cost:
    """Counts what the program `text` does in one run on one device.

    Raises:
      ValueError: the text has no entry computation.
    """
    program = hlo.parse(text)
    done: dict[str, Cost] = {}
    return _cost(program, program.entry, done)


def _cost(program: hlo.Program, name: str, done: dict[str, Cost]) -> Cost:
    """Counts one run of a computation that is no fusion."""
    if name in done:
        return done[name]
    computation = program.computations[name]
    total = done[name] = Cost()
    chains: set[tuple[str, str]] = set()
    for instruction in computation.values():
        opcode = instruction.opcode
        if opcode == "while":
            count = hlo.trips(program, computation, instruction)
            total.unknown_loops += count is None
            for part in ("body", "condition"):
                inner = _cost(program, instruction.attribute(part) or "", done)
                total.add(inner, 1 if count is None else count)
        elif opcode == "conditional":
            branches = [_cost(program, n, done) for n in _branches(instruction)]
            total.add(max(branches, key=lambda c: (c.flops, c.traffic)))
        elif opcode in ("call", "async-start"):
            called = instruction.attribute("to_apply") or instruction.attribute("calls")
            total.add(_cost(program, called or "", done))
        elif opcode == "fusion":
            _count_fusion(program, instruction, total, chains)
        else:
            _count_one(program, computation, instruction, total, chains)
        total.traffic += _traffic(program, computation, instruction)
    return total


def _branches(instruction: hlo.Instruction) -> list[str]:
    found = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
    if found:
        return re.findall(r"[\w.\-]+", found[1].replace("%", ""))
    pair = (instruction.attribute(f"{key}_computation") for key in ("true", "false"))
    return [name for name in pair if name]


def _count_fusion(
    program: hlo.Program,
    fusion: hlo.Instruction,
    total: Cost,
    chains: set[tuple[str, str]],
) -> None:
    """Adds the FLOPs and collectives inside a fusion."""
    called = fusion.attribute("calls") or ""
    computation = program.computations[called]
    scatter = called.startswith("all-reduce-scatter")
    for inner in computation.values():
        if inner.opcode == "fusion":
            _count_fusion(program, inner, total, chains)
        else:
            _count_one(program, computation, inner, total, chains, scatter)


def _count_one(
    program: hlo.Program,
    computation: hlo.Computation,
    instruction: hlo.Instruction,
    total: Cost,
    chains: set[tuple[str, str]],
    scatter: bool = False,
) -> None:
    """Adds the FLOPs or the collective of one instruction.

    Args:
      chains: collectives seen that the compiler spreads over several fusions.
      scatter: this all-reduce keeps a slice only: it is a TPU's reduce-scatter.
    """
    opcode = instruction.opcode
    if opcode == "dot":
        total.flops += _dot_flops(computation, instruction)
    elif opcode == "convolution":
        total.flops += _convolution_flops(computation, instruction)
    elif opcode == "custom-call":
        target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
        if target and target[1] in ("tpu_custom_call", "__gpu$xla.gpu.triton"):
            total.uncounted[target[1]] += 1
    elif opcode == "send" and "megascale" in instruction.attributes:
        kind = re.search(r'megascale_transfer_type="(\w+)"', instruction.attributes)
        size = hlo.arrays(instruction.shape)[0][1]
        name = kind[1].lower().replace("_", "-") if kind else "send"
        total.collect(f"dcn-{name}", 1, size, size)
    kind = opcode.removesuffix("-start")
    if kind not in COLLECTIVES:
        return
    chain = re.search(r'chain_id="(\w+)"', instruction.attributes)
    if chain:
        if (kind, chain[1]) in chains:
            return
        chains.add((kind, chain[1]))
    given = sum(hlo.size(computation[n].shape) for n in instruction.operands)
    group = hlo.group_size(instruction.attributes, program.devices)
    if scatter and kind == "all-reduce":
        kind = "reduce-scatter"
    share = (group - 1) / group
    wire = {
        "all-gather": given * (group - 1),
        "all-reduce": 2 * given * share,
        "reduce-scatter": given * share,
        "all-to-all": given * share,
    }.get(kind, given)
    total.collect(kind, 1, given * group if kind == "all-gather" else given, wire)


def _dot_flops(computation: hlo.Computation, dot: hlo.Instruction) -> float:
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.attributes)
    lhs = hlo.arrays(computation[dot.operands[0]].shape)[0][0]
    inner = [lhs[int(axis)] for axis in (found[1] if found else "").split(",") if axis]
    return 2.0 * math.prod(inner) * math.prod(hlo.arrays(dot.shape)[0][0])


def _convolution_flops(computation: hlo.Computation, conv: hlo.Instruction) -> float:
    """Products with padding and with holes of a dilation are no work.

    TPU programs write batched dots as such convolutions.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", conv.attributes)
    if not labels:
        raise ValueError(f"convolution {conv.name}: got no dim_labels")
    lhs, rhs = (hlo.arrays(computation[n].shape)[0][0] for n in conv.operands[:2])
    out = hlo.arrays(conv.shape)[0][0]
    given = re.search(r"window=\{([^}]*)\}", conv.attributes)
    window = dict(re.findall(r"(\w+)=(\S+)", given[1] if given else ""))
    macs = rhs[labels[2].index("i")] * math.prod(out[labels[3].index(x)] for x in "bf")
    for axis in (c for c in labels[3] if c.isdigit()):
        pad, stride, hole, spread = (
            int(window[key].split("x")[int(axis)].split("_")[0]) if key in window else k
            for key, k in (
                ("pad", 0),
                ("stride", 1),
                ("lhs_dilate", 1),
                ("rhs_dilate", 1),
            )
        )
        size = (lhs[labels[1].index(axis)] - 1) * hole + 1
        steps = (out[labels[3].index(axis)], rhs[labels[2].index(axis)])
        macs *= _products(*steps, size, pad, stride, hole, spread)
    return 2.0 * macs


def _products(
    outputs: int, taps: int, size: int, pad: int, stride: int, hole: int, spread: int
) -> int:
    """Counts (output o, tap k) that meet an input at o stride + k spread - pad.

    Inputs are at the multiples of `hole` under `size`.
    """
    common = math.gcd(stride, hole)
    period = hole // common  # of the outputs that meet an input with the same tap
    inverse = pow(stride // common, -1, period)
    count = 0
    for tap in range(taps):
        base = tap * spread - pad
        if base % common:
            continue
        low = max(math.ceil(-base / stride), 0)
        high = min((size - 1 - base) // stride, outputs - 1)
        first = low + (-base // common * inverse - low) % period
        count += max((high - first) // period + 1, 0)
    return count


def _traffic(
    program: hlo.Program, computation: hlo.Computation, instruction: hlo.Instruction
) -> float:
    """Bytes of main memory that one instruction reads and writes.

    A slice is read, and an update written, in its own size, whatever it is a part of.
    """
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-done"):
        return 0
    if opcode == "custom-call" and "AllocateBuffer" in instruction.attributes:
        return 0
    if opcode == "fusion":
        return _fusion_traffic(program, instruction)
    operands = [computation[n].shape for n in instruction.operands]
    if opcode in ("copy-start", "slice-start", "dynamic-slice-start"):
        new = hlo.arrays(instruction.shape)[0 if opcode == "copy-start" else 1]
        source = hlo.size(operands[0], main=True) > 0
        return new[1] * (new[2] + source)
    if opcode in _SLICES:
        return 2 * hlo.size(instruction.shape, main=True)
    if opcode in _UPDATES:
        return 2 * hlo.size(operands[_UPDATES[opcode]], main=True)
    written = hlo.size(instruction.shape, main=True)
    if opcode.endswith("-start"):  # shapes of operands are part of the result's
        written = 0
    return written + sum(hlo.size(shape, main=True) for shape in operands)


def _fusion_traffic(program: hlo.Program, fusion: hlo.Instruction) -> float:
    computation = program.computations[fusion.attribute("calls") or ""]
    total = 0.0
    for parameter in computation.values():
        if parameter.opcode == "parameter":
            total += _read_of(
                program, computation, parameter, hlo.size(parameter.shape, main=True)
            )
    root = hlo.root(computation)
    written = root.operands if root.opcode == "tuple" else [root.name]
    for name, (_, size, main) in zip(written, hlo.arrays(fusion.shape), strict=False):
        inner, made = computation, hlo.source(computation, name)
        while made.opcode == "fusion":  # fusions hold fusions
            inner = program.computations[made.attribute("calls") or ""]
            made = hlo.source(inner, hlo.root(inner).name)
        if made.opcode in _UPDATES:
            size = hlo.size(inner[made.operands[_UPDATES[made.opcode]]].shape)
        total += size if main else 0
    return total


def _read_of(
    program: hlo.Program,
    computation: hlo.Computation,
    held: hlo.Instruction,
    whole: float,
) -> float:
    """Bytes, at most `whole`, that the inside of a fusion reads of one of its values.

    Fusions inside are looked into: a slice taken there is read in its own size too.
    """
    total = 0.0
    for user in computation.values():
        for at, name in enumerate(user.operands):
            if name != held.name:
                continue
            if user.opcode == "bitcast":
                total += _read_of(program, computation, user, whole)
            elif user.opcode == "fusion":
                inner = program.computations[user.attribute("calls") or ""]
                same = next(
                    x
                    for x in inner.values()
                    if x.opcode == "parameter" and int(x.arguments) == at
                )
                total += _read_of(program, inner, same, whole)
            elif user.opcode in _SLICES and at == 0:
                total += hlo.size(user.shape)
            elif user.opcode not in _UPDATES or at != 0:
                total += whole
    return min(whole, total)
