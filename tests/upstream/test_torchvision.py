"""What torchvision has announced to remove: the test fails on the day it is gone."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchvision


def test_torchvision_still_decodes() -> None:
    """0.29 deprecates it in favour of torchcodec; see read_image."""
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = torchvision.io.encode_jpeg(image)
    with pytest.warns(DeprecationWarning, match="TorchCodec"):
        assert torchvision.io.decode_image(encoded).shape == (3, 4, 4)
