# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Audits what is installed: all of it pinned, none of it with a known vulnerability.

python .ci/audit.py PIP_AUDIT [--required] [flags of pip-audit, such as --service=osv]

Exits 1 if a package is not in constraints.txt with its version, or if pip-audit knows a
vulnerability of one. Where no advisories can be had (no network, or an index without
them) it says so and exits 0, or 1 with --required.
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


def vulnerable(report: str) -> tuple[list[str], list[str]]:
    """Of pip-audit's JSON: lines about vulnerable packages, and names audited."""
    rows = json.loads(report)["dependencies"] if report.strip() else []
    audited = [row for row in rows if "skip_reason" not in row]
    found = [
        f"{row['name']} {row['version']}: {one['id']}, mended in "
        f"{', '.join(one['fix_versions']) or 'no release'}"
        for row in audited
        for one in row["vulns"]
    ]
    return found, [row["name"] for row in audited]


def main(program: str, flags: list[str]) -> int:
    installed = {
        name_of(one.metadata["Name"]): one.version
        for one in importlib.metadata.distributions()
    }
    loose = unpinned(installed, pinned(CONSTRAINTS.read_text(encoding="utf-8")))
    print("\n".join([f"not pinned: {line}" for line in loose]) or "all pinned")
    command = [program, f"--requirement={CONSTRAINTS}", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner=off", "--format=json", "--timeout=15"]
    own = [flag for flag in flags if flag != "--required"]
    ran = subprocess.run([*command, *own], capture_output=True, text=True)
    found, audited = vulnerable(ran.stdout)
    for line in found:
        print(f"vulnerable: {line}")
    print(f"{len(audited)} packages audited, {len(found)} known vulnerabilities")
    if not audited:
        said = re.findall(r'"skip_reason": "([^"]*)', ran.stdout)
        said = said or ran.stderr.strip().splitlines()[-1:] or ["no reason given"]
        print(f"NOT AUDITED, no advisories could be had: {said[0][:300]}")
    return int(bool(loose or found or (not audited and "--required" in flags)))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
