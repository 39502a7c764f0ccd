# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and images behind addresses; pairs with tests/data/test_places.py."""

import io
import json

import PIL.Image
import pytest

from unigeo_jax.data import datasets, places
from unigeo_jax.data.own import photos, remote

fsspec = pytest.importorskip("fsspec")


def picture():
    stream = io.BytesIO()
    PIL.Image.new("RGB", (32, 32), (10, 200, 30)).save(stream, "JPEG")
    return stream.getvalue()


def test_a_table_and_its_images_are_read_through_fsspec(tmp_path):
    base = "memory://bucket"
    lines = [f"p{i},{10 + i},20,images/{i % 2}.jpg" for i in range(30)]
    lines += ["bad,1,1,images/none.jpg", "out,2,2,../secret.jpg"]
    fsspec.filesystem("memory").pipe(
        {
            "/bucket/places.csv": "\n".join(["id,lat,lon,aerial", *lines]).encode(),
            "/bucket/images/0.jpg": picture(),
            "/bucket/images/1.jpg": picture(),
            "/secret.jpg": picture(),
        }
    )
    options = places.Options(split="random", aerial_px=16, overlap=True)
    folder = places.build(f"{base}/places.csv", tmp_path, "far", options, 0)
    report = json.loads((folder / "report.json").read_text())
    said = {e["row"]: e["kind"] for e in report["problems"]["examples"]}
    assert said == {30: "no such file", 31: photos.OUTSIDE}
    assert report["table"] == "places.csv"
    source, _ = datasets.load("far", "train", tmp_path)
    assert any(source[i]["aerial"] is not None for i in range(5))


def test_a_network_that_fails_is_no_bad_image(monkeypatch):
    def fail(address, most):
        raise ConnectionError("down")

    monkeypatch.setattr(remote, "read", fail)
    with pytest.raises(ConnectionError):
        photos.load("https://example.org/a", "x.jpg")


@pytest.mark.parametrize("path", ["", "/x.jpg", "a/../../x.jpg", "http://e.org/x.jpg"])
def test_a_path_stays_below_its_address(path):
    with pytest.raises(ValueError, match="is not below"):
        remote.below("https://example.org/a/", path)
    assert remote.below("s3://b/a/", "x/y.jpg") == "s3://b/a/x/y.jpg"
