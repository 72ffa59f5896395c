"""Cases of plans for GPUs: whole networks, which take longer; see `gpu_cases_optimize.py`."""

from gpu_cases_optimize import check

import torchmg


def case_network_of_basic_blocks() -> None:
    kinds = check(torchmg.create("mgic_resnet20"), (3, 8, 8), 1).kinds
    assert (kinds["block"], kinds["relaxation"]) == (6, 3)  # the first stage has one level


def case_network_with_data() -> None:
    kinds = check(torchmg.create("mgiad20"), (3, 8, 8), 1).kinds
    assert kinds["relaxation"] + kinds["level"] > 5
