# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Modalities, one file each: what is read on the host, its spec, its Encoder.

A modality file holds
- `spec(**data)`: a pytree of numpy zeros, one example, no batch axis;
- `read(record, rng, **data)`: the same pytree filled, or None where the place lacks
  it. `rng` is a numpy Generator in training and None in evaluation (no
  augmentation). numpy only, so that loader workers stay light;
  The generators of all modalities of a place start from one seed, so draws that
  must agree come first (`aerial.square`); a modality whose draws must not agree
  with another's steps past them (`rng.random(n)`): equal colour jitter in two
  pictures would be a shortcut to learn;
- `Encoder`: a linen module with fields `dim` and `dtype` and the `net` options, whose
  `__call__(x, train=False)` gives (b, dim), un-normalised;
- where needed `check(data, net)`, which raises if options of reading do not fit those
  of the Encoder;
- where needed `constants(data, net, folder, records, shards)`: a pytree of numpy
  arrays that all places share and no step changes (a graph, statistics of the inputs),
  read once from the dataset's `folder` or from `records(fields, count)`, training
  records drawn at random but always the same, all for count None. The Encoder finds
  them in its Linen collection "constants"; they are in no checkpoint. What lies under
  the name `rows` has a first axis of a multiple of `shards`, which is split over the
  devices; an Encoder with a field `mesh` is given the mesh;
- where needed `straight(**data)`: {record field: key of the spec} of uint8 images that
  `read` returns as they are, so that they can be decoded where the batch lies;
- where needed `gather(x, seeds, folder, **data)`, which completes a whole batch on the
  host: `x` is what `read` gave, stacked, `seeds` uint64, one a row (a pure function of
  seed, step and position), or None in evaluation.
"""

import importlib
import pkgutil
from types import ModuleType


def available() -> list[str]:
    """List the modality files of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(module: str) -> ModuleType:
    """Import the modality file `module`: a name of this package, or a dotted path.

    Raises ValueError naming the files there are.
    """
    path = module if "." in module else f"{__name__}.{module}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise  # the file is there; something that it imports is not
        raise ValueError(
            f"modality: no module {module!r}; available: {', '.join(available())}, "
            "or the dotted path of a module of your own"
        ) from error
