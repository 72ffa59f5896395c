import pytest
from training_runs import small_set

from torchmg.data.images import ImageSet


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """`fit` trains on the small set, whatever the recipe says."""
    small = small_set()
    monkeypatch.setattr("torchmg.train.model.load", lambda *_, **__: small)
    return small
