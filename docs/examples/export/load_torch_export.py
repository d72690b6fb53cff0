"""Classifies an image with what `woof export --to torch.export --preprocess` wrote. Needs torch and torchvision.

python load_torch_export.py best.pt2 photo.jpg
"""

import json
import sys

import torch
from torchvision.io import ImageReadMode, decode_image


def load(file):
    """Returns the net and its metadata."""
    extra = {"metadata.json": ""}
    net = torch.export.load(file, extra_files=extra).module()
    return net, json.loads(extra["metadata.json"])


def classify(net, photo):
    """Returns the probability of each class."""
    image = decode_image(photo, ImageReadMode.RGB, apply_exif_orientation=True)  # [3, H, W], uint8
    with torch.inference_mode():
        return net(image[None])[0].numpy()


if __name__ == "__main__":
    net, about = load(sys.argv[1])
    probabilities = classify(net, sys.argv[2])
    best = probabilities.argmax()
    print(f"{about['breeds'][best]} {probabilities[best]:.3f}")
