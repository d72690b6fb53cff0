"""What torchvision has announced to remove: the test fails on the day it is gone."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.upstream.helpers import in_a_process

# A PNG of 24 x 16 px of which one byte of the compressed pixels and the last two bytes are wrong.
DAMAGED_PNG = """
89504e470d0a1a0a0000000d4948445200000018000000100802000000834628c20000001e49444154789c636460
60e0a2066261e067a00a373568d4a051da46aa41008a02020518f10984000000000049454e44ae4260
"""


def test_torchvision_still_decodes() -> None:
    """0.29 deprecates it in favour of torchcodec; see read_image."""
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = torchvision.io.encode_jpeg(image)
    with pytest.warns(DeprecationWarning, match="TorchCodec"):
        assert torchvision.io.decode_image(encoded).shape == (3, 4, 4)


@pytest.mark.process
def test_a_damaged_png_crashes_the_process() -> None:
    """Why Pillow decodes PNG. The same kind as https://github.com/pytorch/vision/issues/3613, which is closed."""
    done = in_a_process(
        "import torch, torchvision\n"
        f"content = bytes.fromhex({DAMAGED_PNG!r})\n"
        "for _ in range(200):\n"
        "    try:\n"
        "        torchvision.io.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode='RGB')\n"
        "    except RuntimeError:\n"
        "        pass\n"
    )
    assert done.code < 0, "Ended by a signal."


def test_16_bits_are_not_scaled() -> None:
    """Another reason for Pillow: it comes as uint16, which a transform of uint8 images takes for something else."""
    written = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(written, format="PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torchvision.io.decode_image(torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8))
    assert (image.dtype, int(image.int().max())) == (torch.uint16, 40_000)
