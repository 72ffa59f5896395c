"""Releases of other packages that must not be imported. No torch."""

BAD_RELEASES = {"2.6.2", "2.6.3"}
"""Releases of lightning that were malicious; importing them runs the payload."""
