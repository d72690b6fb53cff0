"""Classifies an image with what `woof export --to onnx --preprocess` wrote. Needs onnxruntime, numpy and Pillow.

python load_onnx.py best.onnx photo.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def load(file):
    """Returns the net and its metadata."""
    net = onnxruntime.InferenceSession(file)
    return net, json.loads(net.get_modelmeta().custom_metadata_map["woof_lightning"])


def classify(net, photo):
    """Returns the probability of each class."""
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    images = np.asarray(image).transpose(2, 0, 1)[None]  # [1, 3, H, W], uint8
    (probabilities,) = net.run(["probabilities"], {"images": images})
    return probabilities[0]


if __name__ == "__main__":
    net, about = load(sys.argv[1])
    probabilities = classify(net, sys.argv[2])
    best = probabilities.argmax()
    print(f"{about['breeds'][best]} {probabilities[best]:.3f}")
