# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Package unigeo-jax; `constraints.txt` pins the versions that are tested."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.md"
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (HERE / "unigeo_jax" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)
assert VERSION, "unigeo_jax/__init__.py must hold __version__"

REQUIRES = [
    "absl-py>=2.1",
    "array_record>=0.8.1",
    "flatbuffers>=24.3.25",
    "flax>=0.12.0",
    "grain>=0.2.12",
    "h3>=4.1",
    "importlib_resources>=6.0",
    "jax>=0.8.0",
    "ml_dtypes>=0.5",
    "ml_collections>=1.0",
    "numpy>=2.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.11.25,<0.13",
    "pillow>=11.0",
    "pyarrow>=17",
    "safetensors>=0.6",
    "scipy>=1.14",
    "sentencepiece>=0.2.1",
    "simplejpeg>=1.8",
    "tensorboardX>=2.6.2",
    "tensorflow-datasets>=4.9.9",
    "tqdm>=4.66",
]
EXTRAS = {
    "test": [
        # Fuzzing guided by coverage; it has wheels for Linux alone.
        'atheris>=3.0; sys_platform == "linux"',
        *("geopandas>=1.0", "onnx>=1.17", "onnxruntime>=1.20"),
        "jraph>=0.0.6.dev0",
        "lightgbm>=4.5",
        "pyright[nodejs]>=1.1.400",
        "pytest>=8.3",
        "pytest-xdist>=3.8",
        "rasterio>=1.4",
        "ruff>=0.12",
        "scikit-learn>=1.5",
        "tifffile>=2024.8",
        "tokenizers>=0.22",
        "zarr>=3.0",
    ],
    # Only to read a vocabulary from a tokenizer.json: it brings huggingface_hub along.
    "text": ["tokenizers>=0.22"],
    "parity": ["torch==2.13.0", "transformers==5.24.0"],
    "bench": [
        *("psutil>=6.0", "scikit-learn>=1.5", "faiss-cpu>=1.9"),
        "torch_geometric>=2.6",
    ],
    # Graph networks on jraph's GraphsTuple; nothing else here needs it.
    "jraph": ["jraph>=0.0.6.dev0"],
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20"],
    # To execute notebooks/ in Jupyter and write their outputs.
    "notebooks": ["geopandas>=1.0", "nbclient>=0.10", "ipykernel>=6.29", "duckdb>=1.1"],
    # A page of launch/explore.py in a browser: then playwright install chromium.
    "browser": ["playwright>=1.48"],
    "boost": ["lightgbm>=4.5"],
    "tpu": ["jax[tpu]"],
    "cuda": ["jax[cuda12]"],
    "geo": [
        *("geopandas>=1.0", "pandas>=2.2", "pyarrow>=17", "rasterio>=1.4"),
        *("fsspec>=2024.6", "h5py>=3.11"),
        *("tifffile>=2024.8", "imagecodecs>=2024.9", "zarr>=3.0"),
    ],
    "peers": [
        *("torch==2.13.0", "geoclip>=1.2", "open_clip_torch==3.3.0"),
        "rshf==0.2.2",
    ],
    "bundle": ["h5py>=3.11", "imagecodecs>=2024.9", "pandas>=2.2", "tifffile>=2024.8"],
}

setup(
    name="unigeo-jax",
    version=VERSION.group(1),
    description="One embedding space for places on Earth, in JAX",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The unigeo_jax authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["unigeo_jax", "unigeo_jax.*"]),
    package_data={
        "unigeo_jax": ["data/bundle/*", "data/bundle/**/*", "models/**/*", "*.html"]
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
