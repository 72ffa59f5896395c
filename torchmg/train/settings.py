"""How to train, whatever the model and data, as a value. No torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from torchmg.errors import UsageError
from torchmg.hierarchy import check_choice

Decay = Literal["all", "weights"]
Schedule = Literal["cosine", "step", "poly", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "crop", "crop_flip", "autoaugment", "randaugment", "inception", "scale_crop_flip", "clouds"]
Layout = Literal["auto", "channels_last", "channels_first"]
Compile = Literal["none", "inductor", "aot_eager"]
Damaged = Literal["raise", "skip"]
LoggerName = Literal["tensorboard", "wandb", "mlflow"]
CHOICES = {
    "decay": Decay,
    "schedule": Schedule,
    "augment": Augment,
    "precision": Precision,
    "layout": Layout,
    "compile": Compile,
    "damaged": Damaged,
}
"""Settings that are one of a few words."""


@dataclass(frozen=True)
class Training:
    """How to train, whatever the model and data.

    Raises:
        UsageError: a value that cannot be trained with; the message names it.
    """

    epochs: int = 200
    """Passes over the training set."""
    batch_size: int = 128
    """Samples in a step."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: float = 1e-4
    """L2 penalty, added to the gradient."""
    decay: Decay = "all"
    """What decays: all parameters, or only weights (not norms and biases)."""
    schedule: Schedule = "cosine"
    """cosine: to zero at the end; step: times gamma at every milestone; poly: (1 - part done) to a power; constant."""
    milestones: tuple[int, ...] = (100, 150)
    """Epochs at which the step schedule lowers the rate."""
    gamma: float = 0.1
    """Factor of the step schedule."""
    power: float = 0.9
    """Exponent of the poly schedule; 0.9 as in DeepLabV3 (Chen et al. 2017, section 4.1)."""
    warmup_epochs: float = 0.0
    """The rate rises linearly from 0 over these first epochs."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    augment: Augment = "none"
    """none; crop: pad by an eighth of the side and crop; crop_flip: and mirror half of the images; autoaugment,
    randaugment: that policy, then crop_flip; inception: a random part, scaled (picture folders); scale_crop_flip:
    picture and mask alike (segmentation); clouds: turn, jitter and drop points."""
    cutmix: float = 0.0
    """Chance that a box of a training picture is filled from another one of the batch, and the target shared by their
    pixels (CutMix, Yun et al. 2019)."""
    mixup: float = 0.0
    """Alpha of the share Beta(alpha, alpha) that another picture of the batch is blended in with, target and all, where
    CutMix is not (mixup, Zhang et al. 2018); 0: none."""
    erase: float = 0.0
    """Chance that a box of 2 to 40 % of a training picture is painted in the mean colour (Zhong et al. 2020)."""
    whiten: bool = False
    """The first convolution starts from the principal components of the training pictures' patches, scaled to unit
    variance, with both signs (Page 2019; Jordan 2024); it is trained like any other. Needs labelled pictures."""
    zero_init: bool = False
    """Norms at the end of residuals and of corrections on finest levels start with scale 0, so that these add nothing
    at first (Goyal et al. 2017, section 5.1). Smoothing steps keep theirs: a ReLU follows, and scale 0 would have no
    gradient."""
    flip_test: bool = False
    """Measure the test samples once more at the end, by the mean of the logits of a picture and its mirror image: a
    score beside the plain one."""
    crop: int = 0
    """Side of the squares that segmentation is trained on with scale_crop_flip (0: whole pictures), or that picture
    folders are brought to (0: 224)."""
    damaged: Damaged = "raise"
    """What becomes of a file in a picture folder that cannot be decoded: an error, or a warning and the next one."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, to save memory; norms see a part at a time."""
    clip: float = 0.0
    """Largest norm of the whole gradient, beyond which it is scaled down; 0 leaves it alone."""
    time_smoothness: float = 0.0
    """Weight of the penalty on differences between the weights of consecutive time steps (PDE networks); 0: none."""
    limit: float = 0.0
    """Weights (not norms and biases) are cut to [-limit, limit] after every step; 0: they are not."""
    ema: float = 0.0
    """Decay per step of a moving average of the weights, which is then what is tested and kept; 0: no average."""
    precision: Precision = "fp32"
    """fp32; bf16 or fp16: that type where autocast deems it safe, weights in float32 (fp16 with scaled losses)."""
    layout: Layout = "auto"
    """Memory layout of images and weights; auto: channels_last on a CPU, on a GPU the faster one by measurement."""
    compile: Compile = "none"
    """Compile the model in place with this backend of torch.compile (inductor needs a C++ compiler)."""
    sync_norm: bool = False
    """Batch statistics over all GPUs instead of one at a time; changes nothing on a single device."""
    distill_from: str = ""
    """What the network imitates while it trains (its teacher): the folder of a finished run on the same data, or
    path/to/file.py:factory, which gives a network with its trained weights. The training loss in logs is the whole."""
    distill_weight: float = 0.9
    """Share w of imitation: (1 - w) task + w imitation, for classes T^2 KL(teacher || network) at the temperature T
    (Hinton et al. 2015), for numbers the mean squared error to the teacher's."""
    distill_temperature: float = 4.0
    """What logits of both are divided by before they are compared; above 1 small probabilities count more."""
    distill_features: float = 0.0
    """Weight of the error of the feature maps after each stage, relative to the teacher's mean square (FitNets, Romero
    et al. 2015); 0: none. Both networks need forward_features with maps of the same shapes."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise UsageError(f"{name} must be a whole number, at least 1; got {value!r}.")
        for name in (
            "lr",
            "weight_decay",
            "warmup_epochs",
            "momentum",
            "gamma",
            "clip",
            "power",
            "time_smoothness",
            "limit",
            "distill_features",
            "mixup",
        ):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a finite number, at least 0; got {getattr(self, name)}.")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be in [0, 1); got {getattr(self, name)}.")
        for name in ("distill_weight", "cutmix", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be in [0, 1]; got {getattr(self, name)}.")
        if not 0 < self.distill_temperature < float("inf"):
            raise UsageError(f"distill_temperature must be a finite number above 0; got {self.distill_temperature}.")
        if self.distill_features and not self.distill_from:
            raise UsageError("distill_features compares with a teacher. Name its run with distill_from.")
        if self.accumulate > self.batch_size:
            raise UsageError(
                f"accumulate={self.accumulate} parts of a batch of {self.batch_size} would be empty; "
                f"use at most {max(1, self.batch_size // 2)}."
            )
        if self.nesterov and self.momentum == 0:
            raise UsageError("nesterov needs momentum above 0; got 0. Use momentum 0.9 or leave nesterov off.")
        for name, kind in CHOICES.items():
            check_choice(name, getattr(self, name), get_args(kind))
