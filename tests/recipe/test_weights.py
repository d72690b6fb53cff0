"""What a net starts from: published weights by name, files, other runs. No published file is downloaded here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model_weights

from woof_lightning.data.transforms import IMAGENET
from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import head_names
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.weights import CHECKPOINTS_OF_A_RUN, check_weights, published, read_source, start_of
from woof_lightning.runs.folder import RunFolder

ARCH = "shufflenet_v2_x0_5"
# RegNets are slow to make without weights, and alike.
ARCHS = [
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if not name.startswith("regnet") or name in ("regnet_x_400mf", "regnet_y_400mf")
]


def config(**settings: Any) -> ModelConfig:
    defaults: dict[str, Any] = {"arch": ARCH, "num_classes": 3}
    return ModelConfig(**defaults | settings)


def saved(file: Path, net: nn.Module, change: Callable[[dict[str, Any]], Any] = dict) -> str:
    torch.save(change(net.state_dict()), file)
    return str(file)


def loaded(settings: ModelConfig, seed: int = 1) -> nn.Module:
    net = build_net(settings.arch, settings.num_classes or 0, seed=seed)
    start_of(settings).load_into(net)
    return net


def equal(one: nn.Module, two: nn.Module) -> dict[str, bool]:
    """Whether each tensor of two nets is the same."""
    other = two.state_dict()
    return {name: torch.equal(value, other[name]) for name, value in one.state_dict().items() if name in other}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a local server offers as torchvision's; torch.hub keeps its files elsewhere."""
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save(build_net(ARCH, 1000, seed=5).state_dict(), folder / "net.pth")
    content = (folder / "net.pth").read_bytes()
    name = f"shufflenet-{hashlib.sha256(content).hexdigest()[:10]}.pth"
    (folder / "net.pth").rename(folder / name)
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        weights = get_model_weights(ARCH)["IMAGENET1K_V1"].value
        monkeypatch.setattr(weights, "url", f"http://127.0.0.1:{http.server_port}/{name}")
        monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))
        yield folder / name
        http.shutdown()


@pytest.mark.parametrize("arch", ARCHS)
def test_every_net_has_a_head_and_published_weights(arch: str) -> None:
    """The head is one layer: a weight, and a bias in all but MaxViT."""
    names = head_names(arch)
    assert len(names) == (1 if arch == "maxvit_t" else 2)
    assert len({name.rpartition(".")[0] for name in names}) == 1
    assert {"DEFAULT", "IMAGENET1K_V1"} & published(arch).keys()


@pytest.mark.parametrize(
    ("arch", "head"),
    [("resnet18", "fc"), ("vgg11", "classifier.6"), ("densenet121", "classifier"), ("vit_b_16", "heads.head"),
     ("squeezenet1_0", "classifier.1"), ("convnext_tiny", "classifier.2"), ("efficientnet_b0", "classifier.1")],
)  # fmt: skip
def test_the_head_is_the_layer_of_the_classes(arch: str, head: str) -> None:
    assert head_names(arch) == {f"{head}.weight", f"{head}.bias"}


def test_published_weights_are_downloaded_checked_and_kept(server: Path, tmp_path: Path) -> None:
    content = server.read_bytes()
    for name in ("IMAGENET1K_V1", "DEFAULT"):
        source = read_source(name, ARCH)
        assert source.file == tmp_path / "hub/checkpoints" / server.name
        assert source.file.read_bytes() == content
        assert (source.normalisation, source.image_size) == (IMAGENET, 224)
        server.write_bytes(b"not read a second time")
    found = equal(loaded(config(weights="DEFAULT")), build_net(ARCH, 1000, seed=5))
    assert {name for name, same in found.items() if not same} == {"fc.weight", "fc.bias"}
    assert all(equal(loaded(config(weights="DEFAULT", num_classes=1000)), build_net(ARCH, 1000, seed=5)).values())


def test_a_download_that_is_not_the_published_file_is_refused(server: Path, tmp_path: Path) -> None:
    server.write_bytes(server.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"IMAGENET1K_V1: http.*cannot be had \(invalid hash value.*expected a network"):
        read_source("IMAGENET1K_V1", ARCH)
    assert not list((tmp_path / "hub/checkpoints").iterdir())


@pytest.mark.usefixtures("server")
def test_a_kept_file_that_is_not_the_published_one_is_refused() -> None:
    file = read_source("DEFAULT", ARCH).file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is not the published file .* remove it"):
        read_source("DEFAULT", ARCH)


def test_without_a_network_the_file_s_place_is_named(server: Path, tmp_path: Path) -> None:
    server.unlink()
    with pytest.raises(UserError, match=f"404.*or that file as {tmp_path}/hub/checkpoints/{server.name}"):
        start_of(config(weights="DEFAULT"))


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("content", [Bomb(), {"state_dict": {"a": Bomb()}}])
def test_no_code_in_a_file_is_run(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "bomb.pth")
    with pytest.raises(UserError, match="bomb.pth cannot be read as weights alone"):
        start_of(config(weights="bomb.pth"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "args": None},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    ],
)
def test_files_of_other_programs(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    net = build_net(ARCH, 3, seed=5)
    start = loaded(config(weights=saved(tmp_path / "net.pt", net, change)))
    assert all(equal(start, net).values())


def test_weights_in_half_precision_become_float32(tmp_path: Path) -> None:
    net = build_net(ARCH, 3, seed=5).half()
    start = loaded(config(weights=saved(tmp_path / "net.pt", net)))
    assert all(equal(start, net.float()).values())
    assert {value.dtype for value in start.parameters()} == {torch.float32}


def test_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    net = build_net(ARCH, 3, seed=5)
    file = tmp_path / "net.safetensors"
    safetensors.save_file(net.state_dict(), file)
    assert all(equal(loaded(config(weights=str(file))), net).values())
    file.write_bytes(b"{}")
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        start_of(config(weights=str(file)))
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(UserError, match="pip install safetensors"):
        start_of(config(weights=str(file)))


def test_the_report_says_what_was_loaded_left_out_and_made_anew(tmp_path: Path) -> None:
    file = saved(tmp_path / "net.pt", build_net(ARCH, 7))
    start = start_of(config(weights=file))
    assert start.report == {
        "weights": file, "file": file, "image_size": None, "loaded": len(build_net(ARCH, 3).state_dict()) - 2,
        "left_out": ["fc.weight", "fc.bias"], "made_anew": ["fc.weight", "fc.bias"],
    }  # fmt: skip
    tail = "336 tensors; left out: fc.weight, fc.bias; made anew: fc.weight, fc.bias"
    assert start.lines(64) == [f"weights from {file} ({file}): {tail}"]


def test_auxiliary_heads_are_left_out(tmp_path: Path) -> None:
    net = torchvision.models.googlenet(init_weights=False, num_classes=3)
    start = start_of(config(arch="googlenet", weights=saved(tmp_path / "net.pth", net)))
    assert start.report is not None
    assert {name.partition(".")[0] for name in start.report["left_out"]} == {"aux1", "aux2"}
    assert start.report["made_anew"] == []


def test_the_old_names_in_published_densenets(tmp_path: Path) -> None:
    def old(state: dict[str, Any]) -> dict[str, Any]:
        pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
        return {pattern.sub(r"\1.\2", name): value for name, value in state.items()}

    net = build_net("densenet121", 3, seed=5)
    file = saved(tmp_path / "net.pth", net, old)
    assert all(equal(loaded(config(arch="densenet121", weights=file)), net).values())


@pytest.mark.parametrize(
    ("arch", "name", "std"),
    [("resnet50", "IMAGENET1K_V2", IMAGENET.std), ("efficientnet_v2_l", "DEFAULT", (0.5, 0.5, 0.5)),
     ("googlenet", "DEFAULT", (0.5, 0.5, 0.5))],
)  # fmt: skip
def test_normalisation_and_size_are_torchvision_s(
    arch: str, name: str, std: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the net computes of an image is what torchvision's own net with its own preset computes."""
    weights = published(arch)[name]
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: {})
    source = read_source(name, arch)
    assert source.normalisation.std == std
    assert source.image_size == weights.transforms().crop_size[0]
    image = torch.rand(1, 3, 8, 8)
    mean, its_std = (torch.tensor(values)[None, :, None, None] for values in source.normalisation)
    preset = weights.transforms()
    expected = torchvision.transforms.functional.normalize(image, preset.mean, preset.std)
    if arch == "googlenet":
        torchvision_s = torchvision.models.googlenet(init_weights=False, aux_logits=False, transform_input=True)
        expected = torchvision_s._transform_input(expected)
    assert torch.allclose((image - mean) / its_std, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("IMAGENET1K_V2", "no weights of shufflenet_v2_x0_5; .*did you mean IMAGENET1K_V1"),
        ("nothing.pth", r"nothing.pth: that is no file.*\(.pt, .pth, .safetensors, .ckpt\) or a run's folder"),
        (".", "there is no checkpoint in it"),
    ],
)
def test_what_is_nothing_is_refused_before_anything_is_read(
    choice: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        check_weights(config(weights=choice))


def test_the_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    """All of ResNet-18 is in a ResNet-34, and would be loaded without a word."""
    file = saved(tmp_path / "net.pth", build_net("resnet34", 3))
    with pytest.raises(UserError, match=r"layer1.2.conv1.weight is in no resnet18.* and \d+ more"):
        start_of(config(arch="resnet18", weights=file))
    with pytest.raises(UserError, match="conv1.0.weight has shape|is missing"):
        start_of(config(weights=file))
    other = saved(tmp_path / "wide.pth", build_net("wide_resnet50_2", 3))
    with pytest.raises(
        UserError, match=r"layer1.0.conv1.weight has shape \[128, 64, 1, 1\], expected \[64, 64, 1, 1\]"
    ):
        start_of(config(arch="resnet50", weights=other))


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [1, 2], {"state_dict": {"a": 1}}])
def test_a_file_without_weights_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UserError, match="holds no weights"):
        start_of(config(weights=str(tmp_path / "net.pth")))


def test_a_run_s_checkpoints_are_where_the_run_writes_them() -> None:
    run = RunFolder(Path())
    assert [Path(name) for name in CHECKPOINTS_OF_A_RUN] == [run.best, run.last]
