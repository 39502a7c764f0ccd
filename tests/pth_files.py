# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes `.pth` files as torch.save does, without PyTorch."""

import io
import pickle
import zipfile

import numpy as np


class FakeStorage:
    """Pickles as a persistent id, as a storage of PyTorch does."""

    def __init__(self, key, count, kind):
        self.identity = ("storage", Name("torch", kind), key, "cpu", count)


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


def tensor(key, count, shape, strides, offset=0, kind="FloatStorage"):
    storage = FakeStorage(key, count, kind)
    return Call(REBUILD, storage, offset, shape, strides, False, ORDERED)


def write_pth(path, state, storages, byteorder=b"little", dtype="<f4"):
    stream = io.BytesIO()
    Writer(stream, 2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name/data.pkl", stream.getvalue())
        archive.writestr("name/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"name/data/{key}", np.asarray(values, dtype).tobytes())
    return path


def write_doubles(path, arrays, key):
    """Writes {key: arrays by name}, each a DoubleStorage, as MobCLIP's release."""
    state, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        storages[str(number)] = array = np.ascontiguousarray(array, np.float64)
        strides = tuple(stride // array.itemsize for stride in array.strides)
        about = (str(number), array.size, array.shape, strides)
        state[name] = tensor(*about, kind="DoubleStorage")
    return write_pth(path, {key: state}, storages, dtype="<f8")
