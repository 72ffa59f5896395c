"""What tests of kernels share."""

from collections.abc import Iterator

import pytest

from torchmg.kernels import native


@pytest.fixture(params=native.isas() or ("none",))
def every_isa(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once in every instruction set that there is here."""
    before = native.isa()
    assert native.use_isa(request.param)
    yield
    native.use_isa(str(before))
