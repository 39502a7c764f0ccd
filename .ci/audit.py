# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Audits what is installed: all of it pinned, none of it with a known vulnerability.

python .ci/audit.py PIP_AUDIT [--required] [flags of pip-audit, such as --service=osv]

Exits 1 if a package is not in constraints.txt with its version, if pip-audit knows a
vulnerability of one, or if pip-audit ends in a way that is none of its own. Where no
advisories can be had (no network, or an index without them) it says so and exits 0.
With --required it exits 1 then, and if any pinned package was not audited.
"""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

CONSTRAINTS = pathlib.Path(__file__).resolve().parents[1] / "constraints.txt"
OURS = {"unigeo-jax", "pip", "setuptools", "wheel"}


def name_of(text: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def pinned(text: str) -> dict[str, str]:
    lines = (line.split("#")[0].split(";")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {name_of(name): version for name, version in pairs}


def unpinned(installed: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        f"{name} {version}: constraints.txt has {wanted.get(name, 'none')}"
        for name, version in sorted(installed.items())
        if name not in OURS and wanted.get(name) != version
    ]


def due(text: str, installed: dict[str, str]) -> dict[str, str]:
    """What must be audited: all that is pinned; with a marker, what is installed."""
    lines = (line for line in text.splitlines() if ";" not in line.split("#")[0])
    always = pinned("\n".join(lines))
    return {n: v for n, v in pinned(text).items() if n in always or n in installed}


def vulnerable(report: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Of pip-audit's JSON: lines about vulnerable packages, versions of those audited,
    and why others were skipped."""
    rows = json.loads(report)["dependencies"] if report.strip() else []
    audited = [row for row in rows if "skip_reason" not in row]
    found = [
        f"{row['name']} {row['version']}: {one['id']}, mended in "
        f"{', '.join(one['fix_versions']) or 'no release'}"
        for row in audited
        for one in row["vulns"]
    ]
    skipped = {name_of(r["name"]): r["skip_reason"] for r in rows if r not in audited}
    return found, {name_of(row["name"]): row["version"] for row in audited}, skipped


def main(program: str, flags: list[str]) -> int:
    installed = {
        name_of(one.metadata["Name"]): one.version
        for one in importlib.metadata.distributions()
    }
    text = CONSTRAINTS.read_text(encoding="utf-8")
    loose = unpinned(installed, pinned(text))
    print("\n".join([f"not pinned: {line}" for line in loose]) or "all pinned")
    command = [program, f"--requirement={CONSTRAINTS}", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner=off", "--format=json", "--timeout=15"]
    own = [flag for flag in flags if flag != "--required"]
    ran = subprocess.run([*command, *own], capture_output=True, text=True)
    last = (ran.stderr.strip().splitlines() or ["nothing on standard error"])[-1][:300]
    try:
        found, audited, skipped = vulnerable(ran.stdout)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"pip-audit ended with {ran.returncode} and no report: {error!r}; {last}")
        return 1
    for line in found:
        print(f"vulnerable: {line}")
    wanted = due(text, installed)
    left = [name for name, version in wanted.items() if audited.get(name) != version]
    print(
        f"{len(wanted) - len(left)} of {len(wanted)} pinned packages audited,"
        f" {len(found)} known vulnerabilities"
    )
    # 1 is both: vulnerabilities, and an error such as that of the network.
    odd = ran.returncode != bool(found) and not (ran.returncode == 1 and not audited)
    if odd:
        print(f"pip-audit ended with {ran.returncode}, {len(found)} found: {last}")
    if left:
        why = skipped.get(left[0]) or last
        print(f"NOT AUDITED: {', '.join(left[:8])}, {len(left)} in all; {why[:300]}")
    return int(bool(loose or found or odd or (left and "--required" in flags)))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
