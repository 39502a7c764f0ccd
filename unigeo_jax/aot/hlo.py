# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Takes the text of a compiled program apart: instructions, shapes, loops, groups.

The text is `compiled.as_text()`, of a CPU or a TPU program.
"""

import math
import re
from typing import NamedTuple


class Instruction(NamedTuple):
    """One line of a computation; `arguments` and `attributes` are its raw text."""

    name: str
    shape: str
    opcode: str
    arguments: str
    attributes: str

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.\-]+)", self.arguments)

    def attribute(self, key: str) -> str | None:
        """The word after `key=`, without %."""
        found = re.search(rf"\b{key}=%?([\w.\-]+)", self.attributes)
        return found and found[1]


Computation = dict[str, Instruction]  # in the order of the text, the root last


class Program(NamedTuple):
    computations: dict[str, Computation]
    entry: str
    devices: int


def parse(text: str) -> Program:
    """Splits a program into computations of instructions.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    roots: dict[str, str] = {}
    entry, name, current = "", "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
            current = None
            if head and not line.startswith("HloModule"):
                name = head[2]
                current = computations.setdefault(name, {})
                entry = name if head[1] else entry
        elif current is not None:
            found = re.match(r"\s+(ROOT )?%?([\w.\-]+) = (.+)$", line)
            if found:
                instruction = Instruction(found[2], *_split(found[3]))
                current[instruction.name] = instruction
                if found[1]:
                    roots[name] = instruction.name
    if not entry:
        raise ValueError("program: got a text without ENTRY; allowed: HLO text")
    for name, root in roots.items():  # a schedule may run the root before others
        computations[name][root] = computations[name].pop(root)
    count = re.search(r"num_partitions=(\d+)", text)
    return Program(computations, entry, int(count[1]) if count else 1)


def _split(text: str) -> tuple[str, str, str, str]:
    """'shape opcode(arguments), attributes' in its four parts."""
    end = _closing(text, 0) + 1 if text[0] == "(" else text.index(" ")
    start = text.index("(", end)
    stop = _closing(text, start)
    return text[:end], text[end:start].strip(), text[start + 1 : stop], text[stop + 1 :]


def _closing(text: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"[()]").finditer(text, start):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.start()
    return len(text) - 1


def arrays(shape: str) -> list[tuple[tuple[int, ...], float, bool]]:
    """(dimensions, bytes, whether in main memory) of each array of a shape's text."""
    out = []
    found = re.findall(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\](?:\{([^}]*)\})?", shape)
    for dtype, bits, numbers, layout in found:
        dims = tuple(int(n) for n in numbers.split(",") if n)
        one = 1 if dtype == "pred" else int(bits or 0) / 8  # a token has no bits
        # S(1) and above are a TPU's on-chip memories.
        main = "S(" not in layout or "S(0)" in layout
        out.append((dims, math.prod(dims) * one, main))
    return out


def size(shape: str, main: bool = False) -> float:
    """Bytes of a shape's text, or of what it has in main memory."""
    return sum(one for _, one, here in arrays(shape) if here or not main)


def trips(program: Program, computation: Computation, loop: Instruction) -> int | None:
    """How often a loop runs, None if that is not to be read from the program.

    Given by the compiler, else from the comparison of a counter with a constant.
    """
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    condition = program.computations[loop.attribute("condition") or ""]
    body = program.computations[loop.attribute("body") or ""]
    first = computation[loop.operands[0]].operands  # a tuple, or a loop's results

    def start(at: int) -> int | None:
        if computation[loop.operands[0]].opcode != "tuple":
            return None
        return constant(computation, first[at])

    compare, sides = _through_fusion(program, condition, root(condition))
    if compare.opcode != "compare" or len(sides) != 2:
        return None
    counter, limit = sides
    if counter.opcode != "get-tuple-element":
        return None
    index = int(counter.attribute("index") or 0)
    if limit.opcode == "get-tuple-element":
        last = start(int(limit.attribute("index") or 0))
    else:
        last = constant(condition, limit.name)
    step, begin = _step(program, body, index), start(index)
    if last is None or begin is None or not step:
        return None
    if compare.attribute("direction") in ("LE", "GE"):
        last += 1 if step > 0 else -1
    return max(math.ceil((last - begin) / step), 0)


def _step(program: Program, body: Computation, index: int) -> int | None:
    """What a loop's body adds to element `index` of its tuple."""
    after = source(body, root(body).operands[index])
    add, sides = _through_fusion(program, body, after)
    inner = program.computations.get(after.attribute("calls") or "", {})
    for side in sides:
        value = constant(body if side.name in body else inner, side.name)
        if value is not None:
            return {"add": value, "subtract": -value}.get(add.opcode)
    return None


def _through_fusion(
    program: Program, computation: Computation, instruction: Instruction
) -> tuple[Instruction, list[Instruction]]:
    """An instruction and its operands; of a fusion, its root and what that reads."""
    if instruction.opcode != "fusion":
        return instruction, [computation[n] for n in instruction.operands]
    inner = program.computations[instruction.attribute("calls") or ""]
    last, sides = root(inner), []
    for name in last.operands:
        side = inner[name]
        if side.opcode == "parameter":
            side = computation[instruction.operands[int(side.arguments)]]
        sides.append(side)
    return last, sides


def root(computation: Computation) -> Instruction:
    """The instruction whose value the computation returns."""
    return next(reversed(computation.values()))


def source(computation: Computation, name: str) -> Instruction:
    """The instruction behind copies."""
    instruction = computation[name]
    while instruction.opcode in ("copy", "bitcast", "convert"):
        instruction = computation[instruction.operands[0]]
    return instruction


def constant(computation: Computation, name: str) -> int | None:
    """The integer that an instruction holds, through copies."""
    held = source(computation, name)
    if held.opcode == "constant" and re.fullmatch(r"-?\d+", held.arguments):
        return int(held.arguments)
    return None


def group_size(attributes: str, devices: int) -> int:
    """Devices that take part in one group of a collective."""
    found = re.search(r"replica_groups=(.*)", attributes)
    text = found[1] if found else ""
    if first := re.match(r"\{\{([\d,]*)\}", text):
        return len(first[1].split(","))
    if iota := re.match(r"\[\d+,(\d+)\]<=", text):
        return int(iota[1])
    if named := re.match(r"mesh\[(.*?)\][^{]*\{(.*?)\}", text):
        sizes = dict(re.findall(r"'?(\w+)'?=(\d+)", named[1]))
        axes = re.findall(r"'?(\w+)'?(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return devices
