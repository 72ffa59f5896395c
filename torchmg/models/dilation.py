"""Backbones of a finer output, by dilated convolutions in place of strided ones."""

from torch import nn

from torchmg.errors import UsageError
from torchmg.models.sizes import FeatureInfo


def dilate(backbone: nn.Module, output_stride: int) -> None:
    """Change a backbone in place so that no feature map is coarser than the input over `output_stride`.

    In every stage that would be coarser, strided convolutions lose their stride and those after them are dilated by as
    much (the a-trous algorithm: Chen et al., "Rethinking Atrous Convolution", 2017, section 3.1): on every
    `reduction / output_stride`-th pixel the result is what the strided network had, as long as nothing in it averages
    over the image. Weights and parameter names stay as they are.

    Args:
        backbone: a model with `feature_info`, whose modules follow each other in the order of its forward pass.
        output_stride: 8, 16 or 32; a backbone that is no coarser is left alone.

    Raises:
        UsageError: an output stride that no feature map has.
    """
    infos: list[FeatureInfo] = backbone.feature_info  # pyright: ignore[reportAssignmentType]
    reductions = [info["reduction"] for info in infos]
    if output_stride not in reductions and output_stride < max(reductions):
        near = ", ".join(map(str, dict.fromkeys(reductions)))
        raise UsageError(f"output_stride={output_stride} is between feature maps; this backbone has {near}.")
    before = 1
    for info, convs in zip(infos, _stages(backbone, infos), strict=True):
        if info["reduction"] <= output_stride:
            continue
        after, strided = info["reduction"] // output_stride, False
        for conv in convs:
            here = conv.stride != (1, 1)
            _spread(conv, after if strided and not here else before)
            conv.stride, strided = (1, 1), strided or here
        info["reduction"], before = output_stride, after


def _stages(backbone: nn.Module, infos: list[FeatureInfo]) -> list[list[nn.Conv2d]]:
    """The convolutions up to each feature map: a map's module may be the last of several of its resolution."""
    stages: list[list[nn.Conv2d]] = [[] for _ in infos]
    stage, inside = 0, False
    for path, module in backbone.named_modules():
        was, inside = inside, f"{path}.".startswith(f"{infos[stage]['module']}.")
        if was and not inside:
            stage += 1
            if stage == len(infos):
                break
            inside = f"{path}.".startswith(f"{infos[stage]['module']}.")
        if isinstance(module, nn.Conv2d):
            stages[stage].append(module)
    return stages


def _spread(conv: nn.Conv2d, dilation: int) -> None:
    if conv.kernel_size == (1, 1) or isinstance(conv.padding, str):
        return
    height, width = conv.padding
    conv.dilation, conv.padding = (dilation, dilation), (height * dilation, width * dilation)
