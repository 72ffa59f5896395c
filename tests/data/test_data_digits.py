import numpy as np
import torch
import torch.nn.functional as F

from torchmg.data import load
from torchmg.data.digits import stratify, upsample


def test_digits_are_constant_and_stratified():
    # One test, not three: importing scikit-learn takes seconds in each worker.
    digits = load("digits")
    # A change here means that scikit-learn's data or our arithmetic changed: no old record compares any more.
    assert digits.hashes() == {
        "train_pixels": "b144ca72cfa8440674481b65378ec5e1e944c7b328f4807d3aff9f4e4428fd49",
        "test_pixels": "1b6f7d674a2fc2c4356a3e4fe53c7e918763070b8d56a9c3892fc0bb8ddf5159",
        "train_labels": "d1d5ec737911a7c30732d626e742f11df2ad5bcf7934a67d586f0a5191286d0c",
        "test_labels": "978b72cb0d46b68745dc60c66e605846d27483c41cea854677505807a6ea7605",
    }
    assert digits.shape == (1, 16, 16)
    assert digits.classes == tuple("0123456789")
    assert (len(digits.train), len(digits.test)) == (1438, 359)
    assert digits.train.images.max() == 255
    train, test = (torch.bincount(part.labels, minlength=10) for part in (digits.train, digits.test))
    share = test / (train + test)
    assert ((share - 0.2).abs() < 0.5 / (train + test)).all()


def test_stratify_covers_every_sample_once():
    labels = [index % 3 for index in range(50)]
    train, test = stratify(labels, 1, 0.2)
    assert sorted(train + test) == list(range(50))
    assert stratify(labels, 1, 0.2) == (train, test) != stratify(labels, 2, 0.2)


def test_upsample_equals_torch():
    levels = np.random.default_rng(0).integers(0, 17, (20, 8, 8))
    levels[0], levels[1] = 0, 16
    ours = upsample(levels)
    doubled = F.interpolate(
        torch.from_numpy(levels[:, None]).double(), scale_factor=2, mode="bilinear", align_corners=False
    )
    assert np.abs(ours - doubled[:, 0].numpy() * 255 / 16).max() <= 0.5 + 1e-9
    assert ours[0].max() == 0
    assert ours[1].min() == 255
