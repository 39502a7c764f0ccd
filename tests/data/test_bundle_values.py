# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Check what the bundle says: sizes, orientation, alignment, known values."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unigeo_jax.data.datasets import earth_sources

BUNDLE = Path(earth_sources.__file__).parents[1] / "bundle"
SEA = {"Pacific": (0, -150), "Atlantic": (30, -40), "Indian Ocean": (-30, 80)}


@pytest.fixture(scope="module")
def raster():
    """Return a function that loads a picture of the bundle, once."""
    cache = {}

    def load(file):
        if file not in cache:
            cache[file] = np.asarray(Image.open(BUNDLE / file))
        return cache[file]

    return load


@pytest.fixture(scope="module")
def table():
    """Return a function that loads an npz of the bundle, once, without pickles."""
    cache = {}

    def load(file):
        if file not in cache:
            with np.load(BUNDLE / file, allow_pickle=False) as pack:
                cache[file] = {name: pack[name] for name in pack}
        return cache[file]

    return load


def at(image, lat, lon):
    """Read a plate carrée picture at a position, row 0 = north."""
    height, width = image.shape[:2]
    row = int((90 - lat) / 180 * height)
    return image[row, int((lon + 180) / 360 * width) % width].astype(float)


def at_rows(image, height, width):
    """Resample a picture to a plate carrée grid by nearest cell centre."""
    rows = ((np.arange(height) + 0.5) / height * image.shape[0]).astype(int)
    cols = ((np.arange(width) + 0.5) / width * image.shape[1]).astype(int)
    return image[np.ix_(rows, cols)]


def best_shift(picture, reference, band=slice(400, 1700)):
    """Return the (row, column) shift of the picture that correlates best."""
    fixed = reference[band].astype(np.float32).ravel()
    score = {}
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            moved = np.roll(picture, (-dr, -dc), (0, 1))[band].astype(np.float32)
            score[dr, dc] = np.corrcoef(moved.ravel(), fixed)[0, 1]
    return max(score, key=lambda shift: score[shift])


def split_names(joined):
    """Split the newline-joined uint8 names."""
    return joined.tobytes().decode().split("\n")


def test_rasters_have_their_documented_sizes(raster):
    assert raster("blue_marble.jpg").shape == (2700, 5400, 3)
    assert raster("black_marble.jpg").shape == (2048, 4096, 3)
    assert raster("elevation.png").shape == (2160, 4320)
    assert raster("ndvi_max.png").shape == raster("ndvi_min.png").shape == (1800, 3600)
    assert raster("landcover.png").shape == (3600, 7200)
    assert raster("landcover.png").max() == 16


@pytest.mark.parametrize(
    ("lat", "lon", "low_m", "high_m"),
    [
        (33.0, 88.0, 4500, 5600),  # Tibetan plateau
        (-16.0, -69.0, 3600, 5000),  # Altiplano
        (31.5, 35.47, -450, -250),  # Dead Sea
        (52.5, 5.0, -50, 50),  # Netherlands
        (-25.0, 133.0, 300, 800),  # central Australia
    ],
)
def test_elevation_is_right_at_known_points(raster, lat, lon, low_m, high_m):
    assert low_m <= 28 * at(raster("elevation.png"), lat, lon) - 450 <= high_m


def test_height_of_greenland_is_that_of_its_bedrock_as_the_card_says(raster):
    assert at(raster("landcover.png"), 72.0, -40.0) == 15
    assert 28 * at(raster("elevation.png"), 72.0, -40.0) - 450 < 500  # surface: 3,100 m
    assert "bedrock" in (BUNDLE / "DATA_CARD.md").read_text()


@pytest.mark.parametrize(("lat", "lon"), SEA.values(), ids=list(SEA))
def test_open_sea_is_missing_dark_and_water(raster, lat, lon):
    assert at(raster("elevation.png"), lat, lon) == 255
    assert at(raster("ndvi_max.png"), lat, lon) == 0
    assert at(raster("landcover.png"), lat, lon) == 0
    red, _, blue = at(raster("blue_marble.jpg"), lat, lon)
    assert blue > red


@pytest.mark.parametrize(
    ("lat", "lon", "igbp"),
    [
        (23.0, 10.0, 16),  # Sahara: barren
        (-5.0, -65.0, 2),  # Amazon: evergreen broadleaf forest
        (72.0, -40.0, 15),  # Greenland: snow and ice
        (41.85, -87.75, 13),  # Chicago: urban
        (41.9, -93.5, 12),  # Iowa: cropland
        (-80.0, 90.0, 15),  # Antarctica
    ],
)
def test_land_cover_is_right_at_known_points(raster, lat, lon, igbp):
    assert at(raster("landcover.png"), lat, lon) == igbp


def test_vegetation_index_separates_rain_forest_from_desert(raster):
    def ndvi(file, lat, lon):
        return (at(raster(file), lat, lon) - 1) / 254 * 1.2 - 0.2

    assert ndvi("ndvi_max.png", 0.5, 22.0) > 0.75  # Congo basin
    assert ndvi("ndvi_min.png", 0.5, 22.0) > 0.4
    assert ndvi("ndvi_max.png", 23.0, 10.0) < 0.2  # Sahara
    both = (raster("ndvi_max.png") > 0) & (raster("ndvi_min.png") > 0)
    assert (raster("ndvi_max.png")[both] >= raster("ndvi_min.png")[both]).mean() > 0.999
    assert 0.6 < (raster("ndvi_max.png") == 0).mean() < 0.8


def test_pictures_show_desert_ice_and_city_lights_where_they_are(raster):
    red, _, blue = at(raster("blue_marble.jpg"), 23.0, 10.0)
    assert red > 120
    assert red - blue > 40
    assert at(raster("blue_marble.jpg"), 72.0, -40.0).min() > 180
    night = raster("black_marble.jpg")
    assert at(night, 41.85, -87.75)[0] > 80  # Chicago
    assert at(night, 23.0, 10.0)[0] < 30  # Sahara


def test_elevation_vegetation_and_colour_align_with_land_cover_at_zero_shift(raster):
    size = (2160, 4320)
    land = at_rows(raster("landcover.png") > 0, *size)
    assert best_shift(raster("elevation.png") < 255, land) == (0, 0)
    assert best_shift(at_rows(raster("ndvi_max.png") > 0, *size), land) == (0, 0)
    blue_marble = raster("blue_marble.jpg").astype(np.int16)
    warmth = blue_marble[..., 0] - blue_marble[..., 2]
    assert best_shift(at_rows(warmth, *size), land) == (0, 0)


def test_heights_of_places_agree_with_the_elevation_map(raster, table):
    places = table("places.npz")
    known = (places["elevation_m"] > -500) & (places["population"] > 20_000)
    lat, lon = places["lat"][known], places["lon"][known]
    rows = ((90 - lat) * 12).astype(int)
    level = raster("elevation.png")[rows, ((lon + 180) * 12).astype(int) % 4320]
    height = places["elevation_m"][known][level < 255].astype(float)
    found = 28.0 * level[level < 255] - 450
    assert np.corrcoef(found, height)[0, 1] > 0.97
    assert np.median(np.abs(found - height)) < 25


def test_night_lights_sit_on_cities_within_one_pixel(raster, table):
    places = table("places.npz")
    big = (places["population"] > 300_000) & (np.abs(places["lat"]) < 60)
    rows = ((90 - places["lat"][big]) / 180 * 2048).astype(int)
    cols = ((places["lon"][big] + 180) / 360 * 4096).astype(int)
    red = raster("black_marble.jpg")[..., 0].astype(float)
    shifts = {
        (dr, dc): red[rows + dr, (cols + dc) % 4096].mean()
        for dr in range(-3, 4)
        for dc in range(-3, 4)
    }
    assert max(shifts, key=lambda shift: shifts[shift]) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_anchors_hold_the_documented_climate_table(table):
    anchors = table("anchors.npz")
    lat, lon, climate = anchors["lat"], anchors["lon"], anchors["climate"]
    assert len(lat) == 230_742
    assert climate.shape == (230_742, 6)
    assert np.all(np.mod(lat * 8, 2) == 1)  # cell centres of 0.25 degrees
    assert np.all(np.mod(lon * 8, 2) == 1)
    assert np.isfinite(climate.astype(float)).all()
    mean, least, most = climate[:, :3].T.astype(float)
    assert np.all((least <= mean) & (mean <= most))
    names = anchors["koppen_names"]
    assert len(names) == 30
    count = dict(zip(names.tolist(), np.bincount(anchors["koppen"]), strict=True))
    assert (count["Dfc"], count["Csc"]) == (39_683, 39)


@pytest.mark.parametrize(
    ("lat", "lon", "zone", "low_c", "high_c"),
    [
        (23.0, 10.0, "BWh", 18, 30),  # Sahara
        (-3.1, -60.0, "Af Am", 24, 30),  # Manaus
        (72.0, -40.0, "EF", -40, -15),  # Greenland
        (51.5, -0.4, "Cfb", 7, 13),  # London
        (62.0, 130.0, "Dfc Dfd Dwd", -15, -3),  # Yakutia
    ],
)
def test_climate_is_right_at_known_points(table, lat, lon, zone, low_c, high_c):
    anchors = table("anchors.npz")
    near = np.hypot(anchors["lat"] - lat, anchors["lon"] - lon).argmin()
    assert str(anchors["koppen_names"][anchors["koppen"][near]]) in zone.split()
    assert low_c <= anchors["climate"][near, 0] <= high_c


def test_anchors_lie_on_land(raster, table):
    anchors = table("anchors.npz")
    rows = ((90 - anchors["lat"]) * 20).astype(int)
    cols = ((anchors["lon"] + 180) * 20).astype(int)
    assert (raster("landcover.png")[rows, cols] > 0).mean() > 0.95


@pytest.mark.parametrize(
    ("name", "country", "admin1", "lat", "lon", "timezone"),
    [
        ("Paris", "FR", "Ile-de-France", 48.85, 2.35, "Europe/Paris"),
        ("Chicago", "US", "Illinois", 41.85, -87.65, "America/Chicago"),
        ("Nairobi", "KE", "Nairobi Area", -1.28, 36.82, "Africa/Nairobi"),
        ("Sydney", "AU", "New South Wales", -33.87, 151.21, "Australia/Sydney"),
        ("Lima", "PE", "Lima", -12.04, -77.03, "America/Lima"),
        ("Washington", "US", "Washington, D.C.", 38.9, -77.04, "America/New_York"),
    ],
)
def test_known_cities_have_the_right_country_division_and_position(
    table, name, country, admin1, lat, lon, timezone
):
    places = table("places.npz")
    names = split_names(places["names"])
    k = max(
        (i for i, found in enumerate(names) if found == name),
        key=lambda i: places["population"][i],
    )
    assert places["country_codes"][places["country"][k]] == country
    assert split_names(places["admin_names"])[places["admin1"][k]] == admin1
    assert abs(places["lat"][k] - lat) < 0.1
    assert abs(places["lon"][k] - lon) < 0.1
    assert places["timezone_names"][places["timezone"][k]] == timezone


def test_places_have_one_row_each_in_every_column(table):
    places = table("places.npz")
    names = split_names(places["names"])
    assert len(names) == 199_568
    columns = "lat lon population country admin1 admin2 elevation_m feature timezone"
    assert {len(places[column]) for column in columns.split()} == {len(names)}
    assert (places["population"] > 0).sum() == 169_030
    assert (places["admin1"] >= 0).mean() > 0.99
    assert places["admin1"].max() < len(split_names(places["admin_names"]))


def test_countries_cover_every_place_and_carry_sound_ages(table):
    countries = json.loads((BUNDLE / "countries.json").read_text())
    assert set(table("places.npz")["country_codes"].tolist()) <= set(countries)
    shares = {
        iso2: np.array(record["age_histogram"])
        for iso2, record in countries.items()
        if record["age_histogram"]
    }
    assert len(shares) == 237
    for iso2, share in shares.items():
        assert share.shape == (42,), iso2
        assert abs(share.sum() - 1) < 1e-4, iso2
    children = {
        iso2: share[[0, 1, 2, 21, 22, 23]].sum() for iso2, share in shares.items()
    }
    assert children["NE"] > 0.45  # Niger
    assert children["JP"] < 0.14
    women_80 = shares["JP"][37:].sum()
    assert women_80 > shares["JP"][16:21].sum()  # women outlive men


def test_country_facts_are_joined_to_the_right_country():
    countries = json.loads((BUNDLE / "countries.json").read_text())
    expected = {  # the Factbook's codes differ from ISO: GM, AU, SZ, CH, NI mean others
        "DE": ("Germany", "Europe", "Berlin", "Bavarian Alps"),
        "AU": ("Australia", "Oceania", "Canberra", "plateau"),
        "CH": ("Switzerland", "Europe", "Bern", "Alps"),
        "NG": ("Nigeria", "Africa", "Abuja", "lowlands"),
        "GM": ("Gambia", "Africa", "Banjul", "Gambia River"),
    }
    for iso2, (name, continent, capital, terrain) in expected.items():
        record = countries[iso2]
        assert (record["name"], record["continent"]) == (name, continent)
        assert record["capital"] == capital
        assert terrain in record["facts"]["terrain"]
    facts = [record["facts"] for record in countries.values()]
    assert sum("gdp_per_head_usd" in fact for fact in facts) >= 215
    assert not [fact for fact in facts if re.search(r"</?[a-z]|&\w+;", str(fact))]
    wealth = {k: r["facts"].get("gdp_per_head_usd", 0) for k, r in countries.items()}
    assert wealth["BI"] < 2_000 < 50_000 < wealth["CH"]


def test_leads_are_tied_to_the_place_they_speak_of(table):
    leads = json.loads((BUNDLE / "leads.json").read_text())
    places = table("places.npz")
    divisions = set(split_names(places["admin_names"]))
    by_name = {lead["name"]: lead for lead in leads}
    assert len(by_name) == len(leads)
    assert by_name["Hyderabad"]["country"] == "IN"
    assert by_name["Hyderabad, Pakistan"]["country"] == "PK"
    assert by_name["Georgia (country)"]["country"] == "GE"
    assert by_name["Birmingham"]["lat"] == pytest.approx(52.48, abs=0.1)
    for lead in leads:
        assert len(lead["text"]) > 40
        if lead["kind"] == "city":
            k = lead["place"]
            assert places["lat"][k] == pytest.approx(lead["lat"], abs=1e-4)
            assert places["country_codes"][places["country"][k]] == lead["country"]
        if lead["kind"] == "region":
            assert lead["admin1"] in divisions
    assert {lead["kind"] for lead in leads} == {"city", "country", "region"}


def test_flight_graph_has_the_documented_size_and_no_self_loops(table):
    airports, flights = table("airports.npz"), table("flights.npz")
    assert len(airports["iata"]) == 305
    assert len(flights["count"]) == 5_366
    assert flights["count"].sum() == 7_009_728
    assert np.all(flights["origin"] != flights["destination"])
    pairs = flights["origin"].astype(int) * 305 + flights["destination"]
    assert len(np.unique(pairs)) == 5_366
    k = airports["iata"].tolist().index("ORD")
    assert airports["lat"][k] == pytest.approx(41.98, abs=0.05)
    assert airports["lon"][k] == pytest.approx(-87.90, abs=0.05)


def test_airports_have_names_and_positions(table):
    fields = table("airfields.npz")
    names = split_names(fields["names"])
    assert len(names) == len(fields["lat"]) == len(fields["lon"]) > 7_500
    k = next(i for i, name in enumerate(names) if "O'Hare" in name)
    assert fields["lat"][k] == pytest.approx(41.98, abs=0.05)
    assert fields["lon"][k] == pytest.approx(-87.90, abs=0.05)
    assert all(name.strip() for name in names)
