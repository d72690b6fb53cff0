"""What a person gets who installs the wheel, outside the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.conftest import CONFIGS
from tests.plain import link_dependencies
from woof_lightning.runs.metrics import read_metrics

pytestmark = [pytest.mark.wheel, pytest.mark.process]
ROOT = CONFIGS.parent
HEADING = re.compile(r"#+ \w").match


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `woof` of an environment that holds the wheel and what it requires, without extras."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    linked = link_dependencies(Path(purelib.stdout.strip()))
    assert {"torch", "lightning"} <= linked
    assert not {"accelerate", "fastai", "hypothesis", "pytest"} & linked
    return place / "bin" / "woof"


def called(woof: Path, place: Path, *args: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(woof), *map(str, args)]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_the_wheel_holds_the_package_and_its_configs_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"woof_lightning"}
    shipped = {Path(name).name for name in names if name.startswith("woof_lightning/configs/")}
    assert shipped == {file.name for file in CONFIGS.iterdir()}
    assert "woof_lightning/py.typed" in names
    assert not [name for name in names if "generate" in name or "test" in name]


def test_what_an_index_shows_has_no_dead_link(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(opened.read(name).decode("utf-8"))
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert isinstance(text, str)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inner = [one for token in tokens for one in (token, *(token.children or []))]
    targets = [one.attrs.get("href", one.attrs.get("src")) for one in inner if one.type in ("link_open", "image")]
    assert targets
    assert [target for target in targets if not str(target).startswith("https://")] == []
    assert [one.content for one in inner if one.type in ("html_block", "html_inline")] == []
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    expected = [line.lstrip("# ") for line in (ROOT / "README.md").read_text("utf-8").splitlines() if HEADING(line)]
    assert headings == expected[: expected.index("Installation")]
    assert "make demo" not in text
    assert "make setup" not in text


def test_a_shipped_config_is_found_by_name(installed: Path, tmp_path: Path) -> None:
    shown = called(installed, tmp_path, "--help")
    assert shown.returncode == 0
    assert all(file.stem in shown.stdout for file in CONFIGS.iterdir())
    trained = called(
        *(installed, tmp_path, "fit", "--config", "adamw_onecycle", "--config=demo"),
        *("--data.image_size", 32, "--data.num_workers", 0, "--model.arch", "shufflenet_v2_x0_5"),
        *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 2),
    )
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs/adamw_onecycle/result.json").is_file()
    where = called(
        installed.with_name("python"), tmp_path, "-c", "import woof_lightning; print(woof_lightning.__file__)"
    )
    assert where.stdout.startswith(str(installed.parents[1]))


SMALL = (
    *("--config", "adamw_onecycle", "--config", "demo", "--data.image_size", 32, "--data.num_workers", 0),
    *("--model.arch", "shufflenet_v2_x0_5", "--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 1),
)


def test_without_extras_a_limit_of_1_is_one_batch(installed: Path, tmp_path: Path) -> None:
    """From the command line in a loop, and from that run's config.yaml in `woof fit`."""
    name = ("--name", "run")
    trained = called(installed, tmp_path, "loop", "bare", *SMALL, *name, "--trainer.limit_train_batches", 1)
    assert trained.returncode == 0, trained.stderr
    again = called(installed, tmp_path, "fit", "--config", "runs/run/config.yaml", "--name", "again")
    assert again.returncode == 0, again.stderr
    for run in ("run", "again"):
        assert [row["step"] for row in read_metrics(tmp_path / f"runs/{run}/metrics.csv")] == [1]


SEVERAL = "import json, sys; from woof_lightning.cli import main; print([main(a) for a in json.loads(sys.argv[1])])"


def test_without_extras_the_other_verbs_work(installed: Path, tmp_path: Path) -> None:
    few = ("--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 2, "--name", "a")
    calls = [
        ("loop", "lightning", *SMALL, *few),
        ("validate", "--ckpt", "runs/a", "--num_workers", 0),
        ("predict", "--ckpt", "runs/a", tmp_path / "data/synthetic/val/s00000001"),
        ("compare", "runs", "--out", "compared"),
        ("loop", "fastai", *SMALL),
        ("cost", "--quick", "--out", "cost", "--allow_busy"),
    ]
    words = json.dumps([[str(word) for word in call] for call in calls])
    done = called(installed.with_name("python"), tmp_path, "-c", SEVERAL, words)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2, 2]", done.stderr
    assert "woof loop fastai needs fastai, which is not installed" in done.stderr
    needed = re.search(r"woof cost needs ([\w, ]+), which are not installed", done.stderr)
    assert needed is not None
    assert {"accelerate", "fastai", "ignite", "pytorch_nn_tools"} <= {*needed[1].split(", ")}
    assert not (tmp_path / "cost").exists()


def test_a_file_of_that_path_comes_before_a_shipped_config(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("model:\n  lr: -1\n", encoding="utf-8")
    refused = called(installed, tmp_path, "fit", "--config", "adamw_onecycle", "--config", "demo")
    assert refused.returncode == 2
    assert "model.lr is -1" in refused.stderr


def test_an_unknown_config_names_the_nearest(installed: Path, tmp_path: Path) -> None:
    refused = called(installed, tmp_path, "fit", "--config", "adamw_onecycel")
    assert refused.returncode == 2
    assert "--config is adamw_onecycel" in refused.stderr
    assert "did you mean adamw_onecycle?" in refused.stderr
    assert not list(tmp_path.iterdir())
