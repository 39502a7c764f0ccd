# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""JSON of others, read so that nothing it holds ends in another error than ValueError.

json.loads alone raises RecursionError for a text nested deeper than Python's stack, and
what is just less deep raises it in the code that walks the value.
"""

import json
import pathlib
from typing import Any

MOST_BYTES = 2**26
DEEPEST = 100  # lists and objects within each other


def read(path: pathlib.Path) -> Any:
    """Value of a UTF-8 file.

    Raises:
      OSError: the file cannot be read.
      ValueError: no JSON, more than 64 MiB, or nested too deeply.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes of JSON; allowed: {MOST_BYTES}")
    return parse(path.read_bytes())


def parse(text: bytes | str) -> Any:
    """Value of a text, UTF-8 where bytes; raises ValueError as `read` does."""
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    depth, level = 0, [value]
    while level := [x for x in level if isinstance(x, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(_too_deep())
        level = [y for x in level for y in (x.values() if isinstance(x, dict) else x)]
    return value


def _too_deep() -> str:
    return f"JSON nested too deeply; allowed: {DEEPEST} lists and objects"
