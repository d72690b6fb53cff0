"""`woof export`: each file answers like `woof predict`, read by its own runtime in the script of the docs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Woof
from tests.export.checkpoints import SIZE, breeds_of, save_checkpoint
from tests.programs import EXAMPLES as ALL_EXAMPLES
from tests.programs import program
from tests.ways import skip_without
from woof_lightning.cli import main
from woof_lightning.cli.export import default_file
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.transforms import eval_transform, normalise
from woof_lightning.export.formats import FORMATS
from woof_lightning.recipe.checkpoint import load_net
from woof_lightning.recipe.prediction import predict

EXAMPLES = ALL_EXAMPLES / "export"
GRAPHS = [name for name, found in FORMATS.items() if found.graph]
# By how much a probability may differ from `woof predict`. ONNX resizes in floats; the images differ by a level here
# and there.
ALLOWED = dict.fromkeys(FORMATS, 1e-5) | {"onnx": 5e-3}
Export = Callable[..., Path]


def example(to: str) -> Any:
    """Returns the script of the docs that reads a format."""
    return program(f"export/load_{to.replace('.', '_')}")


def classified(to: str, file: Path, images: list[Path]) -> torch.Tensor:
    """Returns what the script of the docs says of each image, [images, classes]."""
    net, about = example(to).load(str(file))
    more = () if FORMATS[to].graph else (about,)
    return torch.stack([torch.as_tensor(example(to).classify(net, *more, str(image))) for image in images])


@pytest.fixture(scope="module")
def checkpoint(drawn_index: ImageIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt", drawn_index)


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Export:
    """Exports once for each format, with and without preprocessing."""
    made: dict[tuple[str, bool], Path] = {}

    def export(to: str, *, preprocess: bool) -> Path:
        skip_without(*FORMATS[to].packages)
        if (to, preprocess) not in made:
            options = ["--out", str(checkpoint.with_name(f"whole{FORMATS[to].suffixes[-1]}")), "--preprocess"]
            assert main(["export", "--ckpt", str(checkpoint), "--to", to, *(options if preprocess else [])]) == 0
            made[to, preprocess] = Path(options[1]) if preprocess else default_file(checkpoint, to)
        return made[to, preprocess]

    return export


@pytest.fixture(scope="module")
def images(drawn_index: ImageIndex) -> list[Path]:
    return [drawn_index.root / sample.path for sample in drawn_index.val[::16]]


@pytest.fixture(scope="module")
def answers(checkpoint: Path, images: list[Path], drawn_index: ImageIndex) -> torch.Tensor:
    """The probabilities by `woof predict`, [images, classes]."""
    rows = []
    for answer in predict(checkpoint, images, top=10):
        shares = {guess.class_name: guess.probability for guess in answer.top}
        rows.append([shares[name] for name in drawn_index.classes])
    found = torch.tensor(rows)
    assert len(set(found.argmax(1).tolist())) > 3, "a net that answers all alike would hide an error"
    return found


@pytest.mark.parametrize("to", FORMATS)
def test_the_script_of_the_docs_answers_like_predict(
    to: str, exported: Export, images: list[Path], answers: torch.Tensor
) -> None:
    found = classified(to, exported(to, preprocess=FORMATS[to].graph), images)
    assert found.argmax(1).tolist() == answers.argmax(1).tolist()
    torch.testing.assert_close(found, answers, rtol=0, atol=ALLOWED[to])


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_tensor_gets_the_same_probabilities_in_a_batch_of_any_size(
    to: str, exported: Export, checkpoint: Path, images: list[Path]
) -> None:
    batch = normalise(torch.stack([eval_transform(SIZE)(read_image(image)) for image in images]))
    with torch.inference_mode():
        expected = load_net(checkpoint)(batch).softmax(1)
    net, about = example(to).load(str(exported(to, preprocess=False)))

    def run(part: torch.Tensor) -> torch.Tensor:
        if to == "onnx":
            assert about["input"]["name"] == net.get_inputs()[0].name
            return torch.from_numpy(net.run(None, {about["input"]["name"]: part.numpy()})[0])
        with torch.inference_mode():
            return torch.as_tensor(net(part) if FORMATS[to].graph else net[1](part).softmax(1))

    for start, end in ((0, len(batch)), (2, 3), (1, 6)):
        torch.testing.assert_close(run(batch[start:end]), expected[start:end], rtol=0, atol=1e-5)


@pytest.mark.parametrize("to", GRAPHS)
def test_images_of_any_size_can_share_a_batch(to: str, exported: Export, checkpoint: Path) -> None:
    net, about = example(to).load(str(exported(to, preprocess=True)))
    assert about["input"]["shape"] == ["batch", 3, "height", "width"]
    for shape in ((1, 3, 50, 90), (4, 3, 131, 64), (2, 3, 20, 20)):
        batch = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            seen = normalise(torch.stack([eval_transform(SIZE)(image) for image in batch]))
            expected = load_net(checkpoint)(seen).softmax(1)
            found = torch.as_tensor(net.run(None, {"images": batch.numpy()})[0]) if to == "onnx" else net(batch)
        torch.testing.assert_close(found, expected, rtol=0, atol=ALLOWED[to])


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_says_what_it_holds(to: str, exported: Export, drawn_index: ImageIndex, checkpoint: Path) -> None:
    file = exported(to, preprocess=False)
    _, about = example(to).load(str(file))
    assert (about["exported_to"], about["arch"], about["preprocess_in_graph"]) == (to, "resnet18", False)
    assert about["classes"] == list(drawn_index.classes)
    assert about["breeds"] == breeds_of(drawn_index)
    assert (about["image_size_px"], about["resize_short_side_px"]) == (SIZE, round(SIZE * 8 / 7))
    assert (about["mean"], about["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert about["versions"].keys() >= {"python", "woof_lightning", "torch", "torchvision", *FORMATS[to].packages}
    assert about["versions"]["torch"] == torch.__version__.partition("+")[0]
    # Without the state of the optimizer, which is twice as large as the weights.
    assert checkpoint.stat().st_size > 2.9 * file.stat().st_size


def test_weights_stand_alone_and_are_read_without_code(exported: Export) -> None:
    content = torch.load(exported("state_dict", preprocess=False), weights_only=True)
    assert content.keys() == {"state_dict", "metadata"}
    assert content["state_dict"]["conv1.weight"].shape == (64, 3, 7, 7)


def test_onnx_s_opset_and_names_are_those_that_it_states(exported: Export) -> None:
    skip_without("onnx")
    import onnx

    file = exported("onnx", preprocess=True)
    model = onnx.load(file)
    onnx.checker.check_model(model)
    about = json.loads({text.key: text.value for text in model.metadata_props}["woof_lightning"])
    assert [opset.version for opset in model.opset_import if not opset.domain] == [about["opset"]]
    assert [(side[0].name, len(side)) for side in (model.graph.input, model.graph.output)] == [
        ("images", 1), ("probabilities", 1),
    ]  # fmt: skip
    assert str(Path(torch.__file__).parent).encode() not in file.read_bytes(), "paths of this machine"


def test_weights_that_lie_channels_last_are_exported_alike(drawn_index: ImageIndex, woof: Woof, tmp_path: Path) -> None:
    skip_without("safetensors")
    from safetensors.torch import load_file

    plain, last = (
        save_checkpoint(tmp_path / f"{name}.ckpt", drawn_index, arch="shufflenet_v2_x0_5", channels_last=name == "last")
        for name in ("plain", "last")
    )
    for file in (plain, last):
        assert woof("export", "--ckpt", file, "--to", "safetensors").code == 0
    weights = load_file(tmp_path / "export" / "last.safetensors")
    expected = load_net(last).state_dict()
    assert weights.keys() == load_net(plain).state_dict().keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


@pytest.mark.parametrize("to", ["state_dict", "torchscript"])
def test_outputs_without_a_class_are_no_answer(to: str, drawn_index: ImageIndex, woof: Woof, tmp_path: Path) -> None:
    wide = save_checkpoint(tmp_path / "wide.ckpt", drawn_index, arch="shufflenet_v2_x0_5", num_classes=30)
    preprocess = ["--preprocess"] if FORMATS[to].graph else []
    assert woof("export", "--ckpt", wide, "--to", to, "--out", "wide.pt", *preprocess).code == 0
    image = drawn_index.root / drawn_index.val[0].path
    (found,) = classified(to, Path("wide.pt"), [image])
    (answer,) = predict(wide, [image], top=10)
    shares = {guess.class_name: guess.probability for guess in answer.top}
    assert found.tolist() == pytest.approx([shares[name] for name in drawn_index.classes], abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("to", ["torchscript", "torch.export"])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_a_net_with_auxiliary_heads_is_exported(to: str, drawn_index: ImageIndex, woof: Woof, tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "google.ckpt", drawn_index, arch="googlenet", steps=1)
    outcome = woof("export", "--ckpt", file, "--to", to, "--preprocess")
    assert outcome.code == 0, outcome.err


def test_the_terminal_states_sizes_versions_and_the_check(checkpoint: Path, woof: Woof) -> None:
    outcome = woof("export", "--ckpt", checkpoint, "--to", "torchscript", "--preprocess", "--out", "new/a/net.pt")
    assert outcome.code == 0
    assert outcome.err == ""
    first, given, answer, versions, checked = outcome.out.splitlines()
    size = re.fullmatch(rf"new/a/net\.pt: ([\d.]+) MB, of {re.escape(str(checkpoint))} with 134 MB", first)
    assert size is not None
    assert float(size[1]) == pytest.approx(45, abs=0.2)
    assert "images [batch, 3, height, width], uint8, RGB (resized to 37 px, cropped to 32 px and normalised)" in given
    assert "probabilities [batch, 10], float32" in answer
    assert f"torch {torch.__version__.partition('+')[0]}" in versions
    assert "probabilities of random images differ by 0 from the checkpoint" in checked
    assert [file.name for file in Path("new/a").iterdir()] == ["net.pt"]


def test_a_file_that_is_there_is_kept_unless_told(checkpoint: Path, woof: Woof) -> None:
    Path("net.pt").write_text("mine", encoding="utf-8")
    words = ("export", "--ckpt", checkpoint, "--to", "state_dict", "--out", "net.pt")
    kept = woof(*words)
    assert (kept.code, Path("net.pt").read_text(encoding="utf-8")) == (2, "mine")
    assert "--out: net.pt is there already; replace it with --overwrite" in kept.err
    assert woof(*words, "--overwrite").code == 0
    assert Path("net.pt").stat().st_size > 1e6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "onx"), "--to is onx: did you mean onnx?"),
        (("--to", "x"), "--to is x: expected state_dict, safetensors, onnx, torchscript, torch.export"),
        (
            ("--to", "state_dict", "--preprocess"),
            "holds weights alone and no preprocessing: leave --preprocess out, or",
        ),
        (("--to", "safetensors", "--preprocess"), "export to onnx or torchscript or torch.export"),
        (("--to", "state_dict", "--out", "net.onnx"), "--out is net.onnx: expected a file that ends with .pt or .pth"),
        (("--to", "torch.export", "--out", "."), "--out is .: that is a folder; expected a file that ends with .pt2"),
        (("--to", "state_dict", "--out", "taken/net.pt"), "the folder taken cannot be made"),
        ((), "the following arguments are required: --to"),
    ],
)
def test_wrong_options_are_one_message(words: tuple[str, ...], message: str, checkpoint: Path, woof: Woof) -> None:
    Path("taken").write_text("", encoding="utf-8")
    outcome = woof("export", "--ckpt", checkpoint, *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert [file.name for file in Path().iterdir()] == ["taken"]


def test_a_folder_that_takes_no_file_is_named_before_the_work(
    checkpoint: Path, woof: Woof, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda place, mode: (str(place), mode) != ("locked", os.W_OK))
    for words in (
        ("export", "--ckpt", checkpoint, "--to", "state_dict", "--out", "locked/net.pt"),
        ("predict", "--ckpt", checkpoint, "photo.jpg", "--out", "locked/answers.csv"),
    ):
        outcome = woof(*words)
        assert outcome.code == 2
        assert "nothing can be written into locked; choose another folder" in outcome.err
    assert not list(Path("locked").iterdir())


def test_a_missing_extra_is_named(checkpoint: Path, woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else real(name))
    outcome = woof("export", "--ckpt", checkpoint, "--to", "onnx")
    assert outcome.code == 2
    assert "needs onnx and onnxscript and onnxruntime, which are not installed: install the extra" in outcome.err
    assert woof("export", "--ckpt", checkpoint, "--to", "state_dict", "--out", "net.pt").code == 0


@pytest.mark.parametrize("error", [2e-5, float("nan")])
def test_a_file_that_answers_otherwise_is_not_written(
    error: float, checkpoint: Path, woof: Woof, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FORMATS["state_dict"]
    worse = replace(found, read=lambda content, model: lambda images: found.read(content, model)(images) + error)
    monkeypatch.setitem(FORMATS, "state_dict", worse)
    outcome = woof("export", "--ckpt", checkpoint, "--to", "state_dict", "--out", "new/net.pt")
    assert outcome.code == 2
    assert "differ by" in outcome.err
    assert "nothing was written" in outcome.err
    assert not Path("new").exists()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_the_scripts_know_nothing_of_this_package(file: Path) -> None:
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported
    assert not [name for name in imported if name.startswith("woof")]


def test_each_format_has_a_script() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {f"load_{to.replace('.', '_')}" for to in FORMATS}
