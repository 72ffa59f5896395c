"""Compiles the native library into the wheel, or beside the package when that is installed for development.

Without a C++ compiler, or when it fails, the wheel is a pure one: torchmg works without the library, but slower.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags


class NativeLibrary(BuildHookInterface):
    """Adds `torchmg/kernels/_native.so` and the platform's tag."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together; `version` is "editable" or "standard"."""
        sys.path.insert(0, self.root)
        try:
            from torchmg.kernels.build import LIBRARY, BuildError, build
        finally:
            sys.path.remove(self.root)
        self.folder = tempfile.TemporaryDirectory()
        editable = version == "editable"
        out = LIBRARY if editable else Path(self.folder.name) / LIBRARY.name
        try:
            build(out)
        except BuildError as error:
            reason = " ".join(str(error).split())
            self.app.display_warning(f"torchmg: without native kernels, so slower on CPUs: {reason}")
            return
        if not editable:
            build_data["force_include"][str(out)] = f"torchmg/kernels/{LIBRARY.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Forget what was compiled for the wheel."""
        self.folder.cleanup()


def _platform() -> str:
    """This platform as wheels name it, without a promise about its C library."""
    return next(tag.platform for tag in sys_tags() if "manylinux" not in tag.platform and "musl" not in tag.platform)
