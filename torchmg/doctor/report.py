"""The whole examination, as a value, a table, and JSON."""

from dataclasses import dataclass
from pathlib import Path

from torchmg.doctor.compiling import compiling
from torchmg.doctor.finding import Finding
from torchmg.doctor.packages import packages
from torchmg.tables import Table


@dataclass(frozen=True)
class Report:
    """What was found, in the order in which one thing needs the other."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether everything required works; extras and data sets that are absent do not count."""
        return not any(finding.status == "broken" for finding in self.findings)

    def table(self) -> Table:
        """For people: the advice stands below."""
        rows = [(f.area, f.what, f.status, f.found) for f in self.findings]
        advice = [f"{f.status}: {f.what}: {f.advice}" for f in self.findings if f.advice]
        return Table(["area", "what", "status", "found"], rows, self._title(), "\n".join(advice))

    def data(self) -> Table:
        """For machines: the advice is a column."""
        rows = [(f.area, f.what, f.status, f.found, f.advice) for f in self.findings]
        return Table(["area", "what", "status", "found", "advice"], rows, self._title())

    def _title(self) -> str:
        broken = [finding.what for finding in self.findings if finding.status == "broken"]
        return f"broken: {', '.join(broken)}" if broken else "everything that is required works"


def examine(data_dir: str | Path | None = None) -> Report:
    """Look at versions, extras, devices, compiler, data sets, and run a small block on every device.

    Nothing is downloaded, no data file is read whole, and nothing is imported that is known to be malicious.

    Args:
        data_dir: where data sets lie; default `./data`.
    """
    found = packages()
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        message = str(error).partition("\n")[0]
        advice = "Install it again, for this Python and this system."
        return Report((*found, Finding("core", "import torch", "broken", message, advice)))
    # these need a torch that can be imported
    from torchmg.doctor.datasets import data_sets
    from torchmg.doctor.devices import devices
    from torchmg.doctor.selfcheck import self_checks
    from torchmg.doctor.traps import traps

    return Report((*found, *devices(), *compiling(), *traps(), *data_sets(data_dir), *self_checks()))
