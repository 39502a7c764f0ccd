# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes `.pth` files as torch.save does, without PyTorch."""

import io
import pickle
import zipfile

import numpy as np


class FakeStorage:
    """Pickles as a persistent id, as a storage of PyTorch does."""

    def __init__(self, key, count):
        self.identity = ("storage", Name("torch", "FloatStorage"), key, "cpu", count)


class Name:
    """Pickles as the global `module name`, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Writer(pickle._Pickler):
    """Writes protocol 2 as torch.save does, without PyTorch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, FakeStorage):
            self.save(obj.identity)
            self.write(pickle.BINPERSID)
        elif isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Name("collections", "OrderedDict"))


def tensor(key, storage, shape, strides, offset=0):
    arguments = (FakeStorage(key, storage), offset, shape, strides, False, ORDERED)
    return Call(REBUILD, *arguments)


def write_pth(path, state, storages, byteorder=b"little"):
    stream = io.BytesIO()
    Writer(stream, 2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name/data.pkl", stream.getvalue())
        archive.writestr("name/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"name/data/{key}", np.asarray(values, "<f4").tobytes())
    return path
