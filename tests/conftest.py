"""Every test starts from the same random numbers and uses one thread."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("torchmg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("torchmg")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
