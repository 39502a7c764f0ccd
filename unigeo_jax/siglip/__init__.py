# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""SigLIP and SigLIP 2 weights: in from big_vision and Hugging Face, out to the latter.

files.py      a weights file, read array by array, nothing in it executed
layout.py     where each array stands in a file and how it is turned
positions.py  position embeddings at another resolution or length
towers.py     a file against towers: every key accounted for
start.py      config.init.siglip: towers of a training start from a file
convert.py    a whole file in, either layout out
trained.py    towers of a run as one SigLIP model
"""
