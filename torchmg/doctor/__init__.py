"""What this installation can do, and what is wrong with it. Imports torch while it examines, not before."""

from torchmg.doctor.report import Finding, Report, examine

__all__ = ["Finding", "Report", "examine"]
