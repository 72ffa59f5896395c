"""What networks that classify images share with timm's: the width of their features, and a classifier to exchange."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.models.sizes import FeatureInfo, check_sizes


class NoClassifier(nn.Identity):
    """In the place of a classifier: features pass. `in_features` is what one would take, `out_features` is 0."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The features, (batch, in_features)."""
        return input


class Classifies(nn.Module):
    """For networks whose `head` is a linear layer, or a sequence that ends with one: timm's names for their parts."""

    head: nn.Module
    feature_info: list[FeatureInfo]
    pretrained_cfg: Mapping[str, Any] = MappingProxyType({})
    """What timm says about a model that it built, see `register_with_timm`."""
    default_cfg: Mapping[str, Any] = MappingProxyType({})
    """The same under timm's older name."""

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The feature maps that `feature_info` names, finest first."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Width of the logits; 0 without a classifier."""
        return self.get_classifier().out_features

    @property
    def num_features(self) -> int:
        """Channels of the coarsest feature map, the last of `forward_features`."""
        return self.feature_info[-1]["num_chs"]

    @property
    def head_hidden_size(self) -> int:
        """Width of what enters the classifier; differs from `num_features` where the head has layers before it."""
        return self.get_classifier().in_features

    def get_classifier(self) -> nn.Linear | NoClassifier:
        """The last layer."""
        last = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
        assert isinstance(last, nn.Linear | NoClassifier)
        return last

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in the last layer's place, drawn as `nn.Linear` is, on the same device.

        Args:
            num_classes: width of the logits; 0 for none: the network then returns (batch, head_hidden_size).
            global_pool: None or `avg`, timm's name for the mean that all of these networks take.

        Raises:
            UsageError: a negative number of classes, another pooling.
        """
        if global_pool not in (None, "avg"):
            raise UsageError(f"These networks average their features: global_pool is 'avg'; got {global_pool!r}.")
        width = self.head_hidden_size
        if num_classes == 0:
            new: nn.Module = NoClassifier(width)
        else:
            check_sizes(num_classes=num_classes)
            like = next(self.parameters())
            new = nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)
        if isinstance(self.head, nn.Sequential):
            self.head[-1] = new
        else:
            self.head = new
