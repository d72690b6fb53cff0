"""Classifies an image with what `woof export --to state_dict` wrote. Needs torch and torchvision.

python load_state_dict.py best.state_dict.pt photo.jpg
"""

import sys

import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2


def load(file):
    """Returns the net with its preprocessing, and its metadata."""
    content = torch.load(file, weights_only=True)
    about = content["metadata"]
    net = torchvision.models.get_model(about["arch"], num_classes=about["output"]["shape"][1])
    net.load_state_dict(content["state_dict"])
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
