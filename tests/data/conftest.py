import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # Imported here, because pytest-xdist loads this file once more in a process that runs no test.
    import torch

    torch.set_num_threads(1)
