"""Imported by the server that workers are forked from, so that none of them has to import it again.

Only imports: a process that has touched a CUDA device cannot be forked into one that uses it.
"""

import warnings
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import torchmg.train.queue.worker  # noqa: F401
from torchmg.train.engine import BAD_RELEASES

# Without lightning, or with a release that must not run, the workers raise what `engine` raises.
with suppress(PackageNotFoundError), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as in `engine`
    if version("lightning") not in BAD_RELEASES:
        import_module("lightning.fabric")
