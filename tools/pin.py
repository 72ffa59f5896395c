"""Pin the development environment: every version, and the hash of every file behind it.

    uv run tools/pin.py            resolve afresh, rewrite the pins in pyproject.toml and requirements.txt
    uv run tools/pin.py --check    exit 1 if the two, or what uv resolves under them, do not agree

The pins cover all extras and groups on all platforms. `uv.lock` stays out of the repository, since it names hosts:
uv takes the versions from pyproject.toml, and requirements.txt vouches for the files.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPORT = "export --quiet --all-extras --all-groups --no-emit-project --no-header --no-annotate".split()
BLOCK = re.compile(r"^constraint-dependencies = \[\n(?:    .*\n)*\]\n", re.MULTILINE)
HEAD = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+))? \\")
HASH = re.compile(r"    --hash=(?P<hash>sha256:[0-9a-f]{64})( \\)?")


@dataclass(frozen=True)
class Pin:
    """One line `name==version ; marker` of a requirements file, with its hashes."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]


def parse(requirements: str) -> list[Pin]:
    """The pins of a requirements file; anything but versions and hashes is an error, hosts and options above all."""
    found: list[tuple[re.Match[str], set[str]]] = []
    for number, line in enumerate(requirements.splitlines(), start=1):
        if head := HEAD.fullmatch(line):
            found.append((head, set()))
        elif found and (digest := HASH.fullmatch(line)):
            found[-1][1].add(digest["hash"])
        else:
            raise ValueError(f"requirements.txt, line {number}: neither 'name==version \\' nor a hash: {line}")
    for head, digests in found:
        if not digests:
            raise ValueError(f"requirements.txt: {head['name']}=={head['version']} has no hash")
    return [Pin(head["name"], head["version"], (head["marker"] or "").strip(), frozenset(d)) for head, d in found]


def constraints(pins: list[Pin]) -> list[str]:
    """What pyproject.toml says for `pins`; a marker stands only where one name has several versions."""
    several = {name for name, count in Counter(pin.name for pin in pins).items() if count > 1}
    return [f"{pin.name}=={pin.version}" + (f" ; {pin.marker}" if pin.name in several else "") for pin in pins]


def with_constraints(pyproject: str, lines: list[str]) -> str:
    """The text of pyproject.toml with these constraint dependencies."""
    if len(BLOCK.findall(pyproject)) != 1:
        raise ValueError("pyproject.toml needs one block 'constraint-dependencies = [', one entry a line")
    block = "".join(f'    "{line}",\n' for line in lines)
    return BLOCK.sub(lambda _: f"constraint-dependencies = [\n{block}]\n", pyproject)


def export(pyproject: str, *options: str) -> str:
    """What uv resolves for this pyproject.toml, as requirements; no lock file of the checkout has a say."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(pyproject, encoding="utf-8")
        command = [os.environ.get("UV", "uv"), *EXPORT, *options]
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def pin() -> None:
    """Resolve without constraints, write the versions found, then the requirements they give."""
    path = ROOT / "pyproject.toml"
    pyproject = path.read_text(encoding="utf-8")
    newest = parse(export(with_constraints(pyproject, []), "--refresh"))
    pinned = with_constraints(pyproject, constraints(newest))
    requirements = export(pinned)
    if constraints(parse(requirements)) != constraints(newest):
        raise ValueError("uv resolves otherwise under the pins than without them; nothing was written")
    path.write_text(pinned, encoding="utf-8")
    (ROOT / "requirements.txt").write_text(requirements, encoding="utf-8")
    print(f"Pinned {len(newest)} packages.")


def disagreement(pyproject: str, pins: list[Pin]) -> list[str]:
    """How the constraint dependencies differ from the requirements; needs no network."""
    stated = set(tomllib.loads(pyproject)["tool"]["uv"]["constraint-dependencies"])
    wanted = set(constraints(pins))
    return [f"only in pyproject.toml: {line}" for line in sorted(stated - wanted)] + [
        f"only in requirements.txt: {line}" for line in sorted(wanted - stated)
    ]


def drift(pins: list[Pin], now: list[Pin]) -> list[str]:
    """How the requirements differ from what uv resolves `now`; files added to a release since then are no fault."""
    ours = {(pin.name, pin.version): pin.hashes for pin in pins}
    theirs = {(pin.name, pin.version): pin.hashes for pin in now}
    faults = [f"pinned, but no longer resolved: {name}=={version}" for name, version in sorted(ours.keys() - theirs)]
    faults += [f"resolved, but not pinned: {name}=={version}" for name, version in sorted(theirs.keys() - ours)]
    for name, version in sorted(ours.keys() & theirs):
        if gone := ours[name, version] - theirs[name, version]:
            faults.append(f"{name}=={version}: {len(gone)} pinned file(s) changed or gone, such as {min(gone)}")
    return faults


def check() -> list[str]:
    """All faults of the pins."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pins = parse((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    faults = disagreement(pyproject, pins) + drift(pins, parse(export(pyproject)))
    if not faults:
        print(f"{len(pins)} pins agree, {sum(len(pin.hashes) for pin in pins)} hashes known.")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 on any disagreement")
    try:
        if not parser.parse_args().check:
            pin()
            return 0
        faults = check()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        faults = [str(error)]
    for fault in faults:
        print(f"pin: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
