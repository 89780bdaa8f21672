"""The two ways of normalising give the same bits, and those of the plain formula."""

import numpy as np
import torch

from pipeline.refresh.normalise import Normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_reading_threads_and_device_normalise_to_the_same_bits_as_the_plain_formula() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    normalise = Normalise(MEAN, STD, 12)
    here = np.full(images.shape, np.nan, np.float32)
    normalise.here(images, here)
    mean, std = torch.tensor(MEAN) * 255, torch.tensor(STD) * 255
    expected = (torch.from_numpy(images) - mean) / std
    assert torch.equal(torch.from_numpy(here), expected)
    assert torch.equal(normalise.on_device(torch.from_numpy(images)), expected)


def test_part_of_a_batch_is_filled_in_place_and_the_rest_left_alone() -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3), np.uint8)
    out = np.full(images.shape, 7, np.float32)
    Normalise(MEAN, STD, 6).here(images[1:3], out[1:3])
    assert (out[[0, 3]] == 7).all()
    assert not (out[1:3] == 7).any()
