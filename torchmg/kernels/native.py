"""Finds and loads the native library, on first use; says why there is none. Imports no torch.

`TORCHMG_NATIVE` is the path of a library to use in place of the package's own, or 0 for none; `TORCHMG_ISA` pins one
of its instruction sets (avx512, avx2, baseline). Both are read once.
"""

import ctypes
import os
from functools import cache
from pathlib import Path

from torchmg.kernels.build import LIBRARY

VERSION = 2
"""What `tmg_version` of a library must return; it changes with every change of the C interface."""

REBUILD = "python -m torchmg.kernels.build"


def loaded() -> ctypes.CDLL | None:
    """The loaded library; None when there is none that can be used, for the reason `why_not` gives."""
    return _loaded()[0]


def why_not() -> str:
    """Why `loaded` returns None, and what helps, in one line; empty when there is one."""
    return _loaded()[1]


def isa() -> str | None:
    """The instruction set in use: "avx512", "avx2" or "baseline"; None without a library."""
    found = loaded()
    return None if found is None else found.tmg_isa().decode()


def isas() -> tuple[str, ...]:
    """The library's instruction sets that this processor has, best first; none without a library."""
    found = loaded()
    return () if found is None else tuple(filter(None, found.tmg_isas().decode().split(",")))


def use_isa(name: str) -> bool:
    """Use this instruction set from now on; False when that is not possible, and nothing changes."""
    found = loaded()
    return found is not None and found.tmg_use_isa(name.encode()) == 0


def has(*functions: str) -> bool:
    """Whether there is a library with all these C functions."""
    found = loaded()
    return found is not None and all(hasattr(found, name) for name in functions)


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    wanted = os.environ.get("TORCHMG_NATIVE", "")
    if wanted == "0":
        return None, "switched off by TORCHMG_NATIVE=0"
    path = Path(wanted) if wanted else LIBRARY
    if not path.is_file():
        if wanted:
            return None, f"TORCHMG_NATIVE names {path}, which is not there"
        return None, f"not compiled; with a C++ compiler: {REBUILD}"
    try:
        found = _declared(ctypes.CDLL(str(path.resolve())))
    except (OSError, AttributeError) as error:
        return None, f"{path.name} cannot be loaded ({error}); compile it again: {REBUILD}"
    if (version := found.tmg_version()) != VERSION:
        return None, f"{path.name} is of version {version}, not {VERSION}; compile it again: {REBUILD}"
    if not found.tmg_isas():
        return None, f"{path.name} has no instruction set that this processor has; compile it again: {REBUILD}"
    pinned = os.environ.get("TORCHMG_ISA", "")
    if pinned and found.tmg_use_isa(pinned.encode()) != 0:
        return None, f"TORCHMG_ISA={pinned} cannot be used here; usable: {found.tmg_isas().decode()}"
    return found, ""


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    found.tmg_version.argtypes, found.tmg_version.restype = [], ctypes.c_int32
    found.tmg_isa.argtypes, found.tmg_isa.restype = [], ctypes.c_char_p
    found.tmg_isas.argtypes, found.tmg_isas.restype = [], ctypes.c_char_p
    found.tmg_use_isa.argtypes, found.tmg_use_isa.restype = [ctypes.c_char_p], ctypes.c_int32
    return found
