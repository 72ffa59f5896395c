"""A whitening start of a network's first convolution (Page 2019, "How to train your ResNet"; Jordan 2024, "airbench").

There a first layer of fixed whitening filters is put in front of the network. Here the first convolution that is there
begins as one and is trained like the rest, so that counts of parameters and MACs stay those of the network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.data.order import epoch_order
from torchmg.data.samples import DataSet
from torchmg.errors import UsageError

PICTURES = 5000
"""Training pictures whose patches are looked at, as many as Jordan's."""
FLOOR = 1e-4
"""Variances below this share of the largest count as it: what hardly varies is not blown up."""


@torch.no_grad()
def whiten(model: nn.Module, data: DataSet) -> None:
    """Set the first convolution's filters, in place, to whitening ones of the training pictures' patches.

    Patches have the convolution's size and are taken from normalised pictures without augmentation, at every place
    without a margin. With their covariance C = V L V^T, filter i is v_i / sqrt(l_i), of the largest variances l_i; what
    these filters give has unit variance and is uncorrelated. Half of the filters are such, the other half their
    negatives, because the ReLU that follows keeps one side of each. Where there are more filters than twice the
    components, the others keep their values.

    Args:
        model: its first convolution over the pictures' channels is meant.
        data: labelled pictures; of the training split a fixed choice of `PICTURES` is taken, the same for all seeds.

    Raises:
        UsageError: no such convolution.
    """
    conv = _first_convolution(model, data.shape[0])
    variances, vectors = principal_components(data, (conv.kernel_size[0], conv.kernel_size[1]))
    half = min(len(variances), conv.out_channels // 2)
    filters = (vectors[:, :half] / variances[:half].clamp(min=FLOOR * float(variances[0])).sqrt()).T
    filters = filters.to(conv.weight).view(half, *conv.weight.shape[1:])
    conv.weight[:half], conv.weight[half : 2 * half] = filters, -filters


def principal_components(data: DataSet, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Variances (n,), largest first, and unit vectors (n, n), a column each, of the training pictures' patches.

    n is channels * height * width, in the order of a convolution's weights; float64. Of a vector the entry of largest
    size is positive, so that the same patches give the same vectors.

    Args:
        data: as in `whiten`.
        size: height and width of the patches.
    """
    chosen = epoch_order(0, 0, len(data.train))[:PICTURES]
    prepare, count = data.preparation(), 0
    n = data.shape[0] * size[0] * size[1]
    total, products = torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    for places in chosen.split(100):
        pictures, _ = prepare(*data.train.take(places, None), None)
        patches = F.unfold(pictures.double(), size).transpose(1, 2).flatten(0, 1)
        count += len(patches)
        total += patches.sum(0)
        products += patches.T @ patches
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - mean.outer(mean))
    variances, vectors = variances.flip(0).clamp(min=0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return variances, vectors * largest.sign()


def _first_convolution(model: nn.Module, channels: int) -> nn.Conv2d:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == channels and module.groups == 1 and module.out_channels >= 2:
                return module
            break
    raise UsageError(
        f"whiten needs a network that begins with a full convolution over the pictures' {channels} channel(s); "
        f"{type(model).__name__} does not. Leave it out."
    )
