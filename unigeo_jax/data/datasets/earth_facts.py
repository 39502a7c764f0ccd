# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Write the country facts and encyclopaedia leads of the `earth` source bundle.

Used by `earth_sources` at conversion time only. A lead is kept only where a country
or first-division name beside it confirms which place it speaks of.
"""

import csv
import gzip
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
WITHDRAWN = ("AN", "CS")  # codes no longer in ISO 3166-1
COUNTRY_NAMES = {
    "AX": "Åland Islands",
    "BQ": "Bonaire, Sint Eustatius and Saba",
    "NL": "Netherlands",
    "PS": "Palestine",
    "RE": "Réunion",
    "TL": "Timor-Leste",
    "VA": "Vatican City",
}
WPP_CODES = {"XK": 412}  # where the UN's location number is not ISO's numeric code
OTHER_NAMES = {  # more names that a lead's title or text may use
    "CG": ("Congo-Brazzaville",),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "FM": ("Federated States of Micronesia",),
    "GB": ("England", "Scotland", "Wales", "Northern Ireland", "UK", "Britain"),
    "IE": ("Republic of Ireland",),
    "MM": ("Burma",),
    "MO": ("Macau",),
    "PS": ("West Bank", "Gaza Strip", "State of Palestine"),
    "TR": ("Türkiye",),
    "US": ("U.S.", "US", "United States of America"),
    "VI": ("United States Virgin Islands",),
}
GEOGRAPHY = ("Geography", "Uncategorized")  # topics of the source that hold places
PARTS = ("England", "Scotland", "Wales", "Northern Ireland", "West Bank", "Gaza Strip")
COUNTRY_WORDS = re.compile(
    r"countr|nation|state in|microstate|territor|city-state|department|dependency|"
    r"collectivity|administrative region|islands|archipelago|federation|^$",
    re.IGNORECASE,
)
CITY_WORDS = re.compile(
    r"\b(city|cities|capital|metropolis|town|municipality|prefecture|commune|port|"
    r"megacity|settlement)\b",
    re.IGNORECASE,
)
REGION_WORDS = re.compile(
    r"\b(state|province|region|republic|autonomous|department|division|governorate|"
    r"emirate|community|territory|island|prefecture|country within)\b",
    re.IGNORECASE,
)


def fold(name: str) -> str:
    """Reduce a name to lower-case letters without accents, article or qualifier."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\s*\(.*?\)", "", name))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    return re.sub(r"[\W_]+", " ", re.sub(r"^the ", "", plain)).strip()


def plain_text(marked: str | None, limit: int) -> str | None:
    """Return the first paragraph of an HTML text, cut at a clause within `limit`."""
    paragraphs = re.split(r"(?:<br\s*/?>|</p>)+", marked or "")
    texts = [
        " ".join(html.unescape(re.sub(r"<[^>]*>", "", p)).split()) for p in paragraphs
    ]
    text = next((text for text in texts if text), "")
    if len(text) > limit:
        cut = max(text.rfind("; ", 0, limit + 1), text.rfind(", ", 0, limit + 1))
        text = text[: cut if cut > 0 else text.rfind(" ", 0, limit)]
    return text.strip(" ;,") or None


def first_number(text: str | None) -> float | None:
    """Return the first number of a text such as `$54,500 (2024 est.)`."""
    found = re.search(r"-?[\d,]*\.?\d+", text or "")
    return float(found.group().replace(",", "")) if found else None


def factbook_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the facts that serve a caption or an evaluation; absent ones left out."""
    land = entry.get("Geography", {})
    people = entry.get("People and Society", {})
    languages = people.get("Languages", {})
    languages = languages.get("Languages", languages).get("text")
    wealth = entry.get("Economy", {}).get("Real GDP per capita", {})
    year = max((key for key in wealth if key != "note"), default=None)
    median = people.get("Median age", {}).get("total", {}).get("text")
    urban = people.get("Urbanization", {}).get("urban population", {}).get("text")
    facts = {
        "climate": plain_text(land.get("Climate", {}).get("text"), 160),
        "terrain": plain_text(land.get("Terrain", {}).get("text"), 160),
        "languages": plain_text(re.split(r"; ", languages or "")[0], 120),
        "religions": plain_text(people.get("Religions", {}).get("text"), 120),
        "gdp_per_head_usd": first_number(wealth[year]["text"]) if year else None,
        "gdp_year": int(year.split()[-1]) if year else None,
        "median_age_years": first_number(median),
        "net_migration_per_1000": first_number(
            people.get("Net migration rate", {}).get("text")
        ),
        "urban_percent": first_number(urban),
    }
    return {name: value for name, value in facts.items() if value is not None}


def age_histograms(table: bytes) -> dict[int, list[float]]:
    """Return 42 shares of 2020 by UN location: men 0-4..100+, then women."""
    text = gzip.decompress(table).decode()
    people: dict[int, dict[tuple[int, int], float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        if row["Year"] == "2020":
            bin_ = (["Male", "Female"].index(row["Sex"]), int(row["AgeGrpStart"]))
            people.setdefault(int(row["LocID"]), {})[bin_] = float(row["Value"])
    shares = {}
    for location, counts in people.items():
        if len(counts) != 42:
            raise ValueError(
                f"ages: location {location} has {len(counts)} bins, need 42"
            )
        total = sum(counts.values())
        shares[location] = [round(counts[bin_] / total, 6) for bin_ in sorted(counts)]
    return shares


def country_records(
    countries: bytes, factbook: Mapping[str, bytes], ages: bytes
) -> dict[str, dict[str, Any]]:
    """Join GeoNames countries, Factbook (by FIPS code) and UN ages (by number)."""
    entries = {
        path.rsplit("/", 1)[-1][:-5]: json.loads(b) for path, b in factbook.items()
    }
    histograms = age_histograms(ages)
    records = {}
    for iso2, row in sorted(json.loads(countries).items()):
        if iso2 in WITHDRAWN:
            continue
        location = WPP_CODES.get(iso2) or int(row["isonumeric"])
        records[iso2] = {
            "name": COUNTRY_NAMES.get(iso2, row["name"].strip()),
            "continent": CONTINENTS[row["continentcode"]],
            "capital": row["capital"],
            "population": row["population"],
            "facts": factbook_facts(entries.get(row["fips"].lower(), {})),
            "age_histogram": histograms.get(location),
        }
    return records


# Encyclopaedia leads.


def mention_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Match any of the names as whole words; an acronym's full stops count."""
    options = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{options})(?!\w)")


def country_names(records: Mapping[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return every name under which a text may mention each country."""
    return {
        iso2: [rec["name"], *OTHER_NAMES.get(iso2, ())] for iso2, rec in records.items()
    }


def name_index(places: Mapping[str, list[str]], least: int) -> dict[str, list[int]]:
    """Index places of at least `least` people by each folded name they bear."""
    index: dict[str, list[int]] = {}
    for k, people in enumerate(places["population"]):
        if int(people) >= least:
            names = [
                places["name"][k],
                places["ascii"][k],
                *places["alternates"][k].split(","),
            ]
            for name in {fold(name) for name in names} - {""}:
                index.setdefault(name, []).append(k)
    return index


class LeadJoin:
    """Decide which country, city or first division a lead speaks of, if any."""

    def __init__(
        self,
        places: Mapping[str, list[str]],
        divisions: list[str],
        records: Mapping[str, dict[str, Any]],
    ):
        self.places, self.divisions = places, divisions
        names = country_names(records)
        self.mentions = {iso2: mention_pattern(found) for iso2, found in names.items()}
        self.countries = {
            fold(name): iso2
            for iso2, found in names.items()
            for name in found
            if name not in PARTS
        }
        self.cities = name_index(places, least=15_000)
        self.regions: dict[str, set[tuple[str, str]]] = {}
        for iso2, name in zip(places["country"], divisions, strict=True):
            if name:
                key = fold(re.sub(r" (?:Sheng|Shi)$", "", name))
                self.regions.setdefault(key, set()).add((iso2, name))

    def confirms(self, iso2: str, division: str, text: str) -> bool:
        """Say whether a text names the country, or the first division, of a place."""
        named = bool(division) and bool(mention_pattern([division]).search(text))
        return named or bool(self.mentions[iso2].search(text))

    def city(self, title: str, description: str, extract: str) -> int | None:
        """Return the most populous confirmed namesake; None if none or doubtful."""
        found = self.cities.get(fold(title.split(",")[0]), [])
        for text in (f"{title.partition(',')[2]} {description}", extract):
            sure = [
                k
                for k in found
                if self.confirms(self.places["country"][k], self.divisions[k], text)
            ]
            if sure:
                return max(sure, key=lambda k: int(self.places["population"][k]))
        return None

    def region(self, title: str, text: str) -> tuple[str, str] | None:
        """Return (country, division) of the one confirmed division of this name."""
        found = self.regions.get(fold(title.split(",")[0]), set())
        sure = [pair for pair in sorted(found) if self.mentions[pair[0]].search(text)]
        return sure[0] if len(sure) == 1 else None

    def place(self, entry: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the fields that tie one lead to the map, or None."""
        title, description, extract = (
            entry[k] for k in ("title", "description", "extract")
        )
        iso2 = self.countries.get(fold(title))
        if (
            iso2
            and COUNTRY_WORDS.search(description)
            and "U.S. state" not in description
        ):
            return {"kind": "country", "country": iso2}
        if CITY_WORDS.search(description):
            k = self.city(title, description, extract)
            if k is not None:
                lat, lon = float(self.places["lat"][k]), float(self.places["lon"][k])
                country = self.places["country"][k]
                return {
                    "kind": "city",
                    "country": country,
                    "place": k,
                    "lat": lat,
                    "lon": lon,
                }
        if REGION_WORDS.search(description):
            pair = self.region(title, f"{description} {extract}")
            if pair:
                return {"kind": "region", "country": pair[0], "admin1": pair[1]}
        return None


def lead_records(
    summaries: bytes,
    places: Mapping[str, list[str]],
    divisions: list[str],
    records: Mapping[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Keep the geography leads that could be tied to a country, city or division."""
    join = LeadJoin(places, divisions, records)
    leads = []
    for entry in json.loads(summaries).values():
        if entry["topic"] in GEOGRAPHY:
            tie = join.place(entry)
            if tie:
                text = " ".join(entry["extract"].split())
                leads.append({"name": entry["title"], **tie, "text": text})
    return leads
