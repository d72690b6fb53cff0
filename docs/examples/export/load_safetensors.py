"""Classifies an image with what `woof export --to safetensors` wrote. Needs torch, torchvision and safetensors.

python load_safetensors.py best.safetensors photo.jpg
"""

import json
import sys

import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2


def load(file):
    """Returns the net with its preprocessing, and its metadata."""
    with safe_open(file, framework="pt") as content:
        about = json.loads(content.metadata()["woof_lightning"])
    net = torchvision.models.get_model(about["arch"], num_classes=about["output"]["shape"][1])
    net.load_state_dict(load_file(file))
    preprocess = torch.nn.Sequential(
        v2.Resize(about["resize_short_side_px"], antialias=True),
        v2.CenterCrop(about["image_size_px"]),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(about["mean"], about["std"]),
    )
    return torch.nn.Sequential(preprocess, net.eval()), about


def classify(net, about, photo):
    """Returns the probability of each class."""
    image = decode_image(photo, ImageReadMode.RGB, apply_exif_orientation=True)  # [3, H, W], uint8
    with torch.inference_mode():
        logits = net(image[None])[0, : len(about["classes"])]  # The head may have more outputs.
    return logits.softmax(0).numpy()


if __name__ == "__main__":
    net, about = load(sys.argv[1])
    probabilities = classify(net, about, sys.argv[2])
    best = probabilities.argmax()
    print(f"{about['breeds'][best]} {probabilities[best]:.3f}")
