# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Towers against transformers' own SigLIP classes, built from configuration.

Needs the `parity` extra; skipped without it. Weights are random everywhere, biases and
norms too, so that nothing cancels. Files go through both layouts.
"""

import gc
import json
import warnings

import jax
import numpy as np
import pytest
from flax import traverse_util

from unigeo_jax.data import patches
from unigeo_jax.nn import text, vit
from unigeo_jax.siglip import convert, files, positions, towers

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("default")
TINY_IMAGE = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2}
TINY_IMAGE |= {"num_attention_heads": 4, "patch_size": 4}
TINY_TEXT = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3}
TINY_TEXT |= {"num_attention_heads": 3, "vocab_size": 50, "max_position_embeddings": 8}
TINY_TEXT |= {"projection_size": 32, "bos_token_id": 2, "eos_token_id": 1}
SHAPES = {"B": (768, 3072, 12, 12), "So400m": (1152, 4304, 27, 16)}


def build(image, words, naflex=False, full=False):
    """A model of transformers with random weights, in float32."""
    torch.manual_seed(0)
    family = "Siglip2" if naflex else "Siglip"
    config = getattr(transformers, f"{family}Config")(
        vision_config=image, text_config=words
    )
    model = getattr(transformers, f"{family}Model")(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name == "logit_scale":
                values.fill_(0.5)  # a larger factor is one on the rounding too
            elif values.ndim < 2:
                values.add_(0.1 * torch.randn_like(values))
            elif not full:
                values.copy_(0.2 * torch.randn_like(values))
    return model


def inputs(model, naflex, rows=3, grids=((5, 4), (2, 9)), slots=21):
    """Pixels or patches in [-1, 1], and token ids, the same for both sides."""
    rng = np.random.default_rng(1)
    config = model.config
    words = config.text_config
    ids = rng.integers(0, words.vocab_size, (rows, words.max_position_embeddings))
    patch = config.vision_config.patch_size
    if not naflex:
        size = config.vision_config.image_size
        pixels = rng.uniform(-1, 1, (rows, size, size, 3)).astype(np.float32)
        theirs = {"pixel_values": torch.tensor(pixels.transpose(0, 3, 1, 2))}
        return pixels, ids.astype(np.int32), theirs | {"input_ids": torch.tensor(ids)}
    grid = np.array([grids[i % len(grids)] for i in range(rows)], np.int32)
    shape = (rows, slots, patch * patch * 3)
    cut = rng.uniform(-1, 1, shape).astype(np.float32)
    mask = np.arange(slots)[None] < grid.prod(axis=1)[:, None]
    theirs = {
        "pixel_values": torch.tensor(cut),
        "pixel_attention_mask": torch.tensor(mask.astype(np.int64)),
        "spatial_shapes": torch.tensor(grid.astype(np.int64)),
        "input_ids": torch.tensor(ids),
    }
    return {"patches": cut, "grid": grid}, ids.astype(np.int32), theirs


def theirs_of(model, batch):
    """Embeddings, unit embeddings and logits of transformers, as numpy."""
    with torch.no_grad():
        out = model(**batch)
        pooled = out.vision_model_output.pooler_output, out.text_model_output
        return {
            "image": pooled[0].numpy(),
            "text": pooled[1].pooler_output.numpy(),
            "unit image": out.image_embeds.numpy(),
            "unit text": out.text_embeds.numpy(),
            "logits": out.logits_per_text.numpy(),
        }


def ours_of(path, x, ids):
    """The same of ours, from a file."""
    weights = files.open_weights(path)
    sizes = convert.describe(weights)
    wanted = [convert.tower(side, one) for side, one in sizes.items()]
    plan = towers.plan(weights, wanted)
    shapes = {(t.name, p): s for t in wanted for p, s in t.shapes.items()}
    flat = {}
    for side, path in plan.order(shapes):
        flat[side, *path.split("/")] = plan.read[side, path]()
    tree = traverse_util.unflatten_dict(flat)
    i, t = sizes["img"], sizes["txt"]
    shape = {"width": i.width, "depth": i.depth, "heads": i.heads}
    shape["mlp_ratio"] = i.hidden / i.width
    image = vit.ViT(patch=i.patch, positions=i.grid[0], **shape)
    shape = {"width": t.width, "depth": t.depth, "heads": t.heads}
    shape["mlp_ratio"] = t.hidden / t.width
    words = text.TextTransformer(dim=t.dim, vocab_size=t.vocab, **shape)
    out = {
        "image": np.asarray(jax.jit(image.apply)({"params": tree["img"]}, x)),
        "text": np.asarray(jax.jit(words.apply)({"params": tree["txt"]}, ids)),
    }
    for name in ("image", "text"):
        norm = np.linalg.norm(out[name], axis=-1, keepdims=True)
        out[f"unit {name}"] = out[name] / norm
    factor, bias = np.exp(plan.scalar["t"]()), plan.scalar["b"]()
    out["logits"] = factor * out["unit text"] @ out["unit image"].T + bias
    return out


def errors(ours, theirs):
    return {name: float(np.abs(ours[name] - theirs[name]).max()) for name in theirs}


def both_layouts(model, folder):
    """Paths of the model's weights in three forms: safetensors, shards, npz."""
    model.save_pretrained(folder / "one")
    model.save_pretrained(folder / "many", max_shard_size="30KB")
    assert (folder / "many/model.safetensors.index.json").is_file()
    return [folder / "one", folder / "many", npz_of(folder / "one", folder)]


def npz_of(path, folder):
    """A file of big_vision's layout, scanned, from one of Hugging Face's."""
    convert.convert(files.open_weights(path), folder / "bv", "big_vision")
    weights = files.open_weights(folder / "bv")
    layers, arrays = {}, {}
    for key in weights.shapes:
        before, found, after = key.partition("/encoderblock_")
        if found:
            number, after = after.split("/", 1)
            rest = layers.setdefault(f"{before}/encoderblock/{after}", {})
            rest[int(number)] = weights.read(key)
        else:
            arrays[key] = weights.read(key)
    for key, values in layers.items():
        arrays[key] = np.stack([values[n] for n in sorted(values)])
    with open(folder / "w.npz", "wb") as file:
        np.savez(file, **arrays)
    return folder / "w.npz"


@pytest.mark.parametrize("naflex", [False, True])
def test_tiny_models_agree_to_a_millionth_in_every_file_form(tmp_path, naflex):
    pixels = {"num_patches": 256} if naflex else {"image_size": 16}
    model = build(TINY_IMAGE | pixels, TINY_TEXT, naflex)
    x, ids, batch = inputs(model, naflex)
    theirs = theirs_of(model, batch)
    for path in both_layouts(model, tmp_path):
        worst = errors(ours_of(path, x, ids), theirs)
        # Embeddings before normalisation are of size 4.
        assert worst.pop("image") < 3e-6 and worst.pop("text") < 3e-6, worst
        assert max(worst.values()) < 1e-6, worst


@pytest.mark.parametrize("naflex", [False, True])
def test_what_we_write_transformers_loads_to_the_bit(tmp_path, naflex):
    pixels = {"num_patches": 256} if naflex else {"image_size": 16}
    model = build(TINY_IMAGE | pixels, TINY_TEXT, naflex)
    _, _, batch = inputs(model, naflex)
    npz = both_layouts(model, tmp_path)[2]
    convert.convert(files.open_weights(npz), tmp_path / "out", "huggingface")
    loaded, report = type(model).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report.values()), report
    one, other = model.state_dict(), loaded.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    np.testing.assert_array_equal(
        theirs_of(loaded.eval(), batch)["logits"], theirs_of(model, batch)["logits"]
    )
    about = json.loads((tmp_path / "out/config.json").read_text())
    assert about["architectures"] == [type(model).__name__]


def test_naflex_positions_at_other_sizes_and_images_larger_than_the_table(tmp_path):
    model = build(TINY_IMAGE | {"num_patches": 16}, TINY_TEXT, naflex=True)
    model.save_pretrained(tmp_path / "one")
    grids = ((1, 1), (9, 2), (3, 13), (6, 6), (2, 3))
    x, ids, batch = inputs(model, True, rows=5, grids=grids, slots=40)
    worst = errors(ours_of(tmp_path / "one", x, ids), theirs_of(model, batch))
    assert max(worst["unit image"], worst["logits"]) < 1e-6, worst


def test_pictures_get_the_grid_that_the_naflex_processor_gives_them():
    from_pil = pytest.importorskip(
        "transformers.models.siglip2.image_processing_pil_siglip2"
    )
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 3000, (500, 2)).tolist():
        slots = int(rng.choice([64, 256, 1024]))
        theirs = from_pil.get_image_size_for_max_num_patches(height, width, 16, slots)
        rows, columns = patches.grid(height, width, 16, slots)
        assert (16 * rows, 16 * columns) == theirs


def test_fixed_positions_at_another_resolution_as_transformers_resizes_them(tmp_path):
    model = build(TINY_IMAGE | {"image_size": 16}, TINY_TEXT)
    table = model.vision_model.embeddings.position_embedding.weight.detach().numpy()
    embeddings = model.vision_model.embeddings
    for size in (24, 8, 20):
        with torch.no_grad():
            tokens = embeddings.patch_embedding(torch.zeros(1, 3, size, size))
            tokens = tokens.flatten(2).transpose(1, 2)
            theirs = embeddings.interpolate_pos_encoding(tokens, size, size)[0]
        ours = positions.resize_image(table, (4, 4), (size // 4,) * 2, "cubic")
        np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "patch", "pixels", "vocab"),
    [
        ("B", 16, 224, 256_000),
        ("B", 16, 256, 32_000),
        ("So400m", 14, 224, 32_000),
        ("B", 16, 0, 32_000),
    ],
)
def test_full_size_towers_agree_to_a_ten_thousandth(
    tmp_path, size, patch, pixels, vocab, capsys
):
    """The file as transformers saves it; B also as npz. 0 pixels: NaFlex."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers")
    shape = dict(zip((*names, "num_attention_heads"), SHAPES[size], strict=True))
    kind = {"image_size": pixels} if pixels else {"num_patches": 256}
    words = shape | {"vocab_size": vocab, "bos_token_id": 2, "eos_token_id": 1}
    model = build(
        shape | {"patch_size": patch} | kind, words, naflex=not pixels, full=True
    )
    grids = ((12, 21), (19, 13))
    x, ids, batch = inputs(model, not pixels, rows=2, grids=grids, slots=256)
    theirs = theirs_of(model, batch)
    model.save_pretrained(tmp_path / "one")
    del model
    gc.collect()
    paths = [tmp_path / "one"]
    if (size, pixels) == ("B", 256):
        paths.append(npz_of(tmp_path / "one", tmp_path))
    for path in paths:
        worst = errors(ours_of(path, x, ids), theirs)
        with capsys.disabled():
            what = f"{size}/{patch} {pixels or 'NaFlex'} {path.name}"
            print(f"\n{what}: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
        assert max(worst.values()) < 1e-4, worst
