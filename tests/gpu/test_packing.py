"""What is packed for a GPU machine: the wheels cover what the project needs, and the parts of the images join."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.results.gpu.conditions import failed_imports
from docs.results.gpu.pack import CARRIED_MIB, MIB, PART_MIB, part_mib, print_sizes, repository_bytes
from docs.results.gpu.parts import divided, make_parts, missing, packed_bytes, take
from docs.results.gpu.true_fp32 import flags, tf32_off
from docs.results.gpu.wheels import BROUGHT, NOT_NEEDED, ROOT, TARGET, THERE, lacking, pinned
from woof_lightning.loops.ways import WAYS

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_wheels_cover_every_dependency_of_the_project_and_of_the_other_loops() -> None:
    asked = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["peers"])]
    versions = {name: pinned(CONSTRAINTS)[name] for name in BROUGHT}
    for requirement in asked:
        name = str(canonicalize_name(requirement.name))
        assert name in BROUGHT or name in THERE, name
        version = versions.get(name) or THERE.get(name)
        assert version is None or requirement.specifier.contains(version), f"{name} {version}"
    ways = {canonicalize_name(name) for way in WAYS.values() for name in way.distributions}
    assert ways <= {*BROUGHT, *THERE}
    # jsonargparse's extra.
    assert {"docstring-parser", "typeshed-client"} <= set(BROUGHT)


def test_nothing_that_is_brought_lacks_a_need_of_its_own() -> None:
    packages = []
    for name in BROUGHT:
        try:
            packages.append((name, metadata.version(name), metadata.requires(name) or []))
        except metadata.PackageNotFoundError:  # Without the extra `peers`.
            continue
    assert lacking(packages) == []
    assert not set(BROUGHT) & set(THERE)


def test_nothing_compiled_against_torch_is_brought() -> None:
    assert not {"torch", "torchvision", "torchaudio", "numpy"} & set(BROUGHT)


def test_a_need_that_nothing_fulfils_is_named() -> None:
    there = {"torch": "2.11.0", "pillow": None}
    packages = [
        ("one", "1.0", ["two>=2", "torch>=2.12", "pillow>=99", "three; sys_platform == 'win32'", "spacy"]),
        ("Two", "1.9", ["four; extra == 'all'", "Torch>=2"]),
        ("five", "1.0", ["six; python_version >= '3.12'"]),
    ]
    assert lacking(packages, there) == [
        "one needs two>=2, but there is two 1.9",
        "one needs torch>=2.12, but there is torch 2.11.0",
        "five needs six; python_version >= '3.12': it is neither brought along nor on the machine",
    ]


def test_versions_are_those_for_the_machine_s_python() -> None:
    text = (
        "a==1 ; python_full_version < '3.12'\nA_b==2 ; python_full_version >= '3.12'\nc==3 ; sys_platform == 'win32'\n"
    )
    assert pinned(text) == {"a-b": "2"}
    assert TARGET["python_version"] == "3.12"
    assert set(BROUGHT) <= set(pinned(CONSTRAINTS))


IMPORTS = """
import importlib, json, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
# Seen in the imports, but wanted by torch or by packages that the machine has.
OF_THE_MACHINE = {
    *("contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing", "joblib", "threadpoolctl", "narwhals", "sympy"),
    *("mpmath", "triton", "cuda-bindings", "cuda-pathfinder", "networkx", "jinja2", "certifi", "charset-normalizer"),
    *("urllib3", "six", "pytz", "pip", "pygments", "importlib-metadata", "zipp", "hf-xet", "filelock", "httpx"),
    "colorama",  # tqdm takes it where it is.
}


@pytest.mark.process
@pytest.mark.peer("fastai", "accelerate", "ignite", "pytorch_nn_tools", "fastprogress", "torch_lr_finder")
def test_what_the_ways_import_is_brought_or_there() -> None:
    entries = [entry for way in WAYS.values() for entry in way.entry]
    entries += ["fastai.callback.progress", "torch_lr_finder", "torch.utils.tensorboard", "woof_lightning.cli.fit"]
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS, ",".join(entries)]
    imported = json.loads(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)
    owners = metadata.packages_distributions()
    known = {*BROUGHT, *THERE, *OF_THE_MACHINE, "woof-lightning"}
    stray = {}
    for module in set(imported) & set(owners):
        names = {str(canonicalize_name(name)) for name in owners[module]}
        # Several packages share a namespace, such as google.
        if not names & known and not any(name.startswith("nvidia") for name in names):
            stray[module] = names
    assert not stray
    assert not {module for module in imported if module in NOT_NEEDED}


def test_parts_are_about_equal_and_keep_to_the_limit(tmp_path: Path) -> None:
    files = []
    for number in range(40):
        files.append(tmp_path / f"{number:02}.jpg")
        files[-1].write_bytes(bytes(1000 * (1 + number % 7)))
    limit = 60_000
    parts = divided(files, limit)
    assert [file for part in parts for file in part] == files
    sizes = [sum(map(packed_bytes, part)) for part in parts]
    assert max(sizes) <= limit - 10_240
    assert len(parts) <= 1 + -(-sum(sizes) // (limit - 10_240))
    assert max(sizes[:-1]) - min(sizes[:-1]) <= max(map(packed_bytes, files))
    with pytest.raises(SystemExit, match="alone is larger"):
        divided(files, 15_000)


def test_images_join_to_what_they_were_and_the_missing_parts_are_named(tmp_path: Path, small_folder: Path) -> None:
    packed, work = tmp_path / "packed", tmp_path / "work"
    (small_folder / "notes.txt").write_text("no image", encoding="utf-8")
    made = make_parts(small_folder, packed, 60_000)
    made = make_parts(small_folder, packed, 60_000)  # Again: the earlier parts are replaced.
    assert len(made) >= 3
    assert all(file.stat().st_size <= 60_000 for file in made)
    assert missing(work) is None
    content = {file.name: file.read_bytes() for file in made}
    for file in made[1:]:
        file.rename(tmp_path / file.name)
    assert take(packed, work) == [f"images-1-of-{len(made)}.tar has arrived"]
    assert missing(work) == list(range(2, len(made) + 1))
    # One that was cut short on its way.
    made[1].write_bytes(content[made[1].name][:-20_000])
    (line,) = take(packed, work)
    assert "cannot be unpacked" in line
    assert 2 in (missing(work) or [])
    for file in made[1:]:
        file.write_bytes(content[file.name])
    take(packed, work)
    assert missing(work) == []
    ours = {file.relative_to(small_folder): file.read_bytes() for file in small_folder.rglob("*.jpg")}
    ours |= {file.relative_to(small_folder): file.read_bytes() for file in small_folder.rglob("*.JPEG")}
    theirs = {file.relative_to(work / "images"): file.read_bytes() for file in (work / "images").rglob("*.*")}
    assert theirs == ours
    assert ours


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no image"):
        make_parts(tmp_path, tmp_path / "out", 60_000)


def test_a_part_and_the_repository_fit_into_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = repository_bytes()
    assert (ROOT / "README.md").stat().st_size < repository < 20 * MIB
    assert part_mib(repository) * MIB + repository < CARRIED_MIB * MIB
    assert part_mib(0) == PART_MIB
    (tmp_path / "images-1").mkdir()
    (tmp_path / "images-1" / "part.tar").write_bytes(bytes(2 * MIB))
    assert print_sizes(tmp_path, 3 * MIB) == []
    assert "2.0 MiB" in capsys.readouterr().out
    assert len(print_sizes(tmp_path, 63 * MIB)) == 1


def test_tf32_is_off_in_true_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    try:
        tf32_off()
        assert flags() == {
            "cudnn.allow_tf32": False,
            "cuda.matmul.allow_tf32": False,
            "float32_matmul_precision": "highest",
        }
    finally:
        torch.set_float32_matmul_precision("highest")


def test_imports_that_fail_are_named_and_the_others_are_tried() -> None:
    failed = failed_imports(("no_such_module", "json", "docs.no_such"))
    assert list(failed) == ["no_such_module", "docs.no_such"]
    assert failed["no_such_module"] == "ModuleNotFoundError: No module named 'no_such_module'"
