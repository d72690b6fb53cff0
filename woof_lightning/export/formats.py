"""The formats of `woof export`: how each is written, and how its own runtime reads it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from woof_lightning.errors import UserError
from woof_lightning.export.about import BATCH, HEIGHT, IMAGES, NORMALISED, PROBABILITIES, WIDTH
from woof_lightning.export.graph import Classifier

# Resize has antialiasing from opset 18 on; 20 is what torch 2.14 writes by itself.
OPSET = 20
# Where a file has its metadata: the name of a file in it, or of a text in its header.
METADATA_FILE, METADATA_KEY = "metadata.json", "woof_lightning"
# Protobuf holds no larger message.
MOST_ONNX_BYTES = 2**31
EXPORTERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """What to export.

    Args:
        model: The net with preprocessing and softmax, in evaluation mode, on the CPU.
        example: A batch of two images as the model takes them.
        preprocess: Whether the model begins with the preprocessing.
        about: The metadata.
    """

    model: Classifier
    example: Tensor
    preprocess: bool
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Args:
        suffixes: How a file's name may end, the default first.
        write: Returns the content of a file.
        read: Returns what computes probabilities, from a file's content and a model of the same architecture. Formats
            without a graph load their weights into that model.
        graph: Whether it holds a graph, which can begin with the preprocessing.
        packages: The packages that it needs beside torch and torchvision.
        resize_floats: Whether its runtime cannot resize bytes.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Task], bytes]
    read: Callable[[bytes, Classifier], Run]
    graph: bool = True
    packages: tuple[str, ...] = ()
    resize_floats: bool = False


def write_state_dict(task: Task) -> bytes:
    """Returns a file for torch.load: the weights under `state_dict`, the metadata under `metadata`."""
    file = io.BytesIO()
    torch.save({"state_dict": weights_of(task.model.net), "metadata": dict(task.about)}, file)
    return file.getvalue()


def read_state_dict(content: bytes, model: Classifier) -> Run:
    """Loads the weights of a file of write_state_dict."""
    model.net.load_state_dict(torch.load(io.BytesIO(content), weights_only=True)["state_dict"])
    return model


def write_safetensors(task: Task) -> bytes:
    """Returns a file for safetensors, with the metadata in its header."""
    from safetensors.torch import save

    # Other programs read from `format` that the weights are PyTorch's.
    return save(weights_of(task.model.net), {"format": "pt", METADATA_KEY: json.dumps(task.about)})


def read_safetensors(content: bytes, model: Classifier) -> Run:
    """Loads the weights of a file of write_safetensors."""
    from safetensors.torch import load

    model.net.load_state_dict(load(content))
    return model


def write_torchscript(task: Task) -> bytes:
    """Returns a file for torch.jit.load, with the metadata in an extra file."""
    file = io.BytesIO()
    with quiet_exporters():
        # The net is traced, since a script of GoogLeNet or Inception would return several outputs. The preprocessing is
        # scripted, since a trace would keep the size of its example.
        net = torch.jit.trace(task.model.net, task.model.preprocess(task.example))  # type: ignore[no-untyped-call]
        scripted = torch.jit.script(Classifier(net, task.model.classes, task.model.preprocess).eval())
        torch.jit.save(scripted, file, _extra_files={METADATA_FILE: json.dumps(task.about)})
    return file.getvalue()


def read_torchscript(content: bytes, _: Classifier) -> Run:
    """Returns the graph of a file of write_torchscript."""
    with quiet_exporters():
        run: Run = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return run


def write_torch_export(task: Task) -> bytes:
    """Returns a file for torch.export.load, with the metadata in an extra file."""
    file = io.BytesIO()
    with quiet_exporters():
        torch.export.save(exported(task), file, extra_files={METADATA_FILE: json.dumps(task.about)})
    return file.getvalue()


def read_torch_export(content: bytes, _: Classifier) -> Run:
    """Returns the graph of a file of write_torch_export."""
    with quiet_exporters():
        run: Run = torch.export.load(io.BytesIO(content)).module()
    return run


def write_onnx(task: Task) -> bytes:
    """Returns a file for ONNX's runtimes, with the metadata in its metadata_props.

    Raises:
        UserError: If the net is too large for one file.
    """
    import onnx

    weights_bytes = sum(value.nbytes for value in task.model.state_dict().values())
    if weights_bytes >= MOST_ONNX_BYTES:
        raise UserError(
            f"--to is onnx, but the weights are {weights_bytes / 1e9:.1f} GB: an ONNX file holds at most 2 GB; export "
            "to another format"
        )
    with quiet_exporters():
        program: Any = torch.onnx.export(
            exported(task),
            (task.example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[IMAGES if task.preprocess else NORMALISED],
            output_names=[PROBABILITIES],
            verbose=False,
        )
    proto = program.model_proto
    for node in proto.graph.node:  # Stack traces, with the paths of this machine.
        node.ClearField("metadata_props")
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(task.about)})
    content: bytes = proto.SerializeToString()
    return content


def read_onnx(content: bytes, _: Classifier) -> Run:
    """Returns the graph of a file of write_onnx, which onnxruntime runs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda images: torch.from_numpy(session.run([PROBABILITIES], {given.name: images.numpy()})[0])


def exported(task: Task) -> torch.export.ExportedProgram:
    """Returns the graph for batches of any size, and for images of any size if it begins with the preprocessing."""
    dynamic = {0: BATCH, 2: HEIGHT, 3: WIDTH} if task.preprocess else {0: BATCH}
    shapes = {axis: torch.export.Dim(name, min=1) for axis, name in dynamic.items()}
    return torch.export.export(task.model, (task.example,), dynamic_shapes=(shapes,))


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Returns the weights and buffers of a net, each in the contiguous layout."""
    return {name: value.detach().contiguous() for name, value in net.state_dict().items()}


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Silences what torch tells developers: that TorchScript is deprecated, and what its exporters do step by step."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


FORMATS: dict[str, Format] = {
    "state_dict": Format((".pt", ".pth"), write_state_dict, read_state_dict, graph=False),
    "safetensors": Format(
        (".safetensors",), write_safetensors, read_safetensors, graph=False, packages=("safetensors",)
    ),
    "onnx": Format(
        (".onnx",), write_onnx, read_onnx, packages=("onnx", "onnxscript", "onnxruntime"), resize_floats=True
    ),
    "torchscript": Format((".pt", ".ts"), write_torchscript, read_torchscript),
    "torch.export": Format((".pt2",), write_torch_export, read_torch_export),
}
