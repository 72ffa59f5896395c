"""Arguments that name and change a model, shared by the commands that build one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from torchmg.models.options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelArguments:
    """A model."""

    model: Annotated[str, tyro.conf.Positional]
    """A name that `torchmg list` shows, timm:NAME, torchvision:NAME, or path/to/file.py:factory."""
    num_classes: int | None = None
    """Classes of the head (default: the model's own)."""
    in_channels: int | None = None
    """Channels of the images (default: the model's own)."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)

    def given(self) -> dict[str, Any]:
        """Only the options that were set."""
        sizes = {"num_classes": self.num_classes, "in_channels": self.in_channels}
        return {**{key: value for key, value in sizes.items() if value is not None}, **self.options.given()}

    def check_name(self) -> None:
        """Reject an unknown name of the catalogue before torch is imported."""
        from torchmg.models.catalog import find
        from torchmg.models.libraries import library_of

        if ".py:" not in self.model and not library_of(self.model):
            find(self.model)

    def default_input(self, model: "nn.Module") -> tuple[int, ...]:
        """Shape of one sample of the built model: what it or the catalogue says, with the channels asked for."""
        from torchmg.models.libraries import INPUT, library_of
        from torchmg.models.outside import input_of

        shape = input_of(model, self.model) or (INPUT if library_of(self.model) else (3, 32, 32))
        return (self.in_channels or shape[0], *shape[1:])
