"""Versions of Python, of what torchmg needs and of what its extras add, read without importing any of it."""

import platform
import re
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import NamedTuple

import torchmg
from torchmg.doctor.finding import Finding
from torchmg.train.releases import BAD_RELEASES


class Requirement(NamedTuple):
    """One line of torchmg's own metadata: a package, the versions that will do, and the extra it belongs to."""

    package: str
    bounds: str
    extra: str | None


def requirements() -> list[Requirement]:
    """What torchmg says it needs; empty when it runs without being installed."""
    try:
        lines = requires("torchmg") or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        needed, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", needed)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if name is not None:
            found.append(Requirement(name[0], needed[name.end() :].strip(), extra and extra[1]))
    return found


def packages() -> list[Finding]:
    """torchmg, Python, what is required, and each extra."""
    needed = requirements()
    installed = "installed" if needed else "not installed: run from its source"
    findings = [Finding("core", "torchmg", "ok", f"{torchmg.__version__} {installed}"), _python()]
    findings += [_core(r) for r in needed if r.extra is None]
    extras = dict.fromkeys(r.extra for r in needed if r.extra is not None)
    return findings + [_extra(extra, [r for r in needed if r.extra == extra]) for extra in extras]


def release(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.15.0+cu132" is (2, 15, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", text)[0]))


def within(installed: str, bounds: str) -> bool:
    """Whether a version keeps to bounds such as `>=2.11,<3`; what torchmg's metadata uses, no more."""
    for operator, bound in re.findall(r"(>=|<)\s*([\d.]+)", bounds):
        enough = _padded(installed) >= _padded(bound)
        if enough != (operator == ">="):
            return False
    return True


def _padded(text: str) -> tuple[int, ...]:
    return (*release(text), 0, 0, 0, 0)[:4]


def installed_version(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Finding:
    here = platform.python_version()
    try:
        classifiers = metadata("torchmg").get_all("Classifier") or []
    except PackageNotFoundError:
        classifiers = []
    known = [match[1] for line in classifiers if (match := re.search(r"Python :: (\d+\.\d+)$", line))]
    if not known or here.rpartition(".")[0] in known:
        return Finding("core", "Python", "ok", here)
    older = release(here) < release(known[0])
    advice = f"torchmg supports Python {known[0]} to {known[-1]}."
    return Finding("core", "Python", "broken" if older else "warning", here, advice)


def _core(needed: Requirement) -> Finding:
    installed = installed_version(needed.package)
    if installed is not None and within(installed, needed.bounds):
        return Finding("core", needed.package, "ok", installed)
    advice = f"pip install '{needed.package}{needed.bounds}'"
    return Finding("core", needed.package, "broken", installed or "not installed", advice)


def _extra(name: str, needed: list[Requirement]) -> Finding:
    """One extra; a malicious package in it is a broken installation, an absent one is a choice."""
    installed = {r.package: installed_version(r.package) for r in needed}
    found = ", ".join(f"{package} {there or 'absent'}" for package, there in installed.items())
    if installed.get("lightning") in BAD_RELEASES:
        wanted = next(r.bounds for r in needed if r.package == "lightning")
        advice = (
            f"lightning {installed['lightning']} is a known malicious release. Do not import it: "
            f"pip install --upgrade 'lightning{wanted}'. If it ever was imported here, renew keys and passwords."
        )
        return Finding("extra", name, "broken", found, advice)
    add = f"pip install 'torchmg[{name}]'"
    if None in installed.values():
        return Finding("extra", name, "absent", found, add)
    unfit = [r for r in needed if not within(installed[r.package] or "", r.bounds)]
    if unfit:
        outside = ", ".join(f"{r.package} must be {r.bounds}" for r in unfit)
        return Finding("extra", name, "warning", found, f"{outside}: {add}")
    return Finding("extra", name, "ok", found)
