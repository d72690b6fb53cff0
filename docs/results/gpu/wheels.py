"""The packages that a GPU machine without a network needs: which it has, which are brought along, and their download.

The machine was described as having PyTorch 2.11 and its companions. Nothing that is compiled against torch is brought
along, so torch and torchvision are always its own.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
# The machine's Python, for the markers of requirements.
TARGET = {
    **{"python_version": "3.12", "python_full_version": "3.12.3", "platform_python_implementation": "CPython"},
    **{"implementation_name": "cpython", "implementation_version": "3.12.3", "os_name": "posix"},
    **{"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "extra": ""},
}
# pip takes exactly the tags that it is given.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
# What the machine has, with the version where it was said.
THERE: dict[str, str | None] = {
    **{"torch": "2.11.0", "torchvision": "0.26.0", "torchmetrics": "1.9.0", "pytorch-lightning": "2.6.6"},
    **{"accelerate": "1.15.0", "numpy": "2.5.2", "safetensors": "0.8.0", "huggingface-hub": "1.33.0"},
    **dict.fromkeys(("pillow", "matplotlib", "scipy", "scikit-learn", "pandas", "requests", "packaging", "rich")),
    **dict.fromkeys(("fsspec", "lightning-utilities", "typing-extensions", "setuptools", "psutil", "grpcio")),
    **dict.fromkeys(("aiohttp", "click", "python-dateutil", "anyio", "markupsafe", "cloudpickle", "h11", "idna")),
}
# What is brought along, at the versions of constraints.txt.
BROUGHT = (
    # The project's own dependencies and their needs.
    *("lightning", "jsonargparse", "docstring-parser", "typeshed-client", "filelock", "pyyaml", "tqdm"),
    *("tensorboard", "tensorboard-data-server", "absl-py", "markdown", "protobuf", "werkzeug"),
    *("bokeh", "contourpy", "jinja2", "narwhals", "tornado", "xyzservices"),
    # The other loops and finders.
    *("pytorch-nn-tools", "torch-lr-finder", "pytorch-ignite"),
    *("fastai", "fastcore", "fastdownload", "fasttransform", "plum-dispatch", "beartype"),
    # fastprogress imports fasthtml, and that all of these.
    *("fastprogress", "python-fasthtml", "starlette", "oauthlib", "itsdangerous", "python-multipart"),
)
# What packages ask for, but do not import where they are used here.
NOT_NEEDED = {
    "spacy": "fastai's texts",
    "uvicorn": "fasthtml's server",
    "httpx2": "fasthtml's client",
    "beautifulsoup4": "fasthtml's reading of HTML",
}


def pinned(constraints: str) -> dict[str, str]:
    """Returns the versions of a constraints file that hold on the machine, by canonical name.

    Args:
        constraints: The file's text.
    """
    found = {}
    for line in constraints.splitlines():
        requirement = Requirement(line.strip()) if line.strip() else None
        if requirement is not None and (requirement.marker is None or requirement.marker.evaluate(TARGET)):
            found[str(canonicalize_name(requirement.name))] = str(requirement.specifier).removeprefix("==")
    return found


def download(folder: Path) -> None:
    """Downloads the wheels of BROUGHT for the machine's Python, each without its needs.

    Raises:
        SystemExit: If pip fails.
    """
    versions = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", str(folder)]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += [f"{name}=={versions[name]}" for name in BROUGHT]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("pip could not download the wheels: see its message above")


def requirements_in(wheels: Iterable[Path]) -> Iterator[tuple[str, str, list[str]]]:
    """Yields name, version and requirements of wheels."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            fields = Parser().parsestr(archive.read(metadata).decode())
        yield fields["Name"], fields["Version"], fields.get_all("Requires-Dist") or []


def lacking(packages: Iterable[tuple[str, str, list[str]]], there: Mapping[str, str | None] = THERE) -> list[str]:
    """Returns one sentence for each requirement of some packages that nothing fulfils.

    Args:
        packages: Name, version and requirements of each package that is brought along.
        there: The versions of the packages that the machine has; None where the version is not known.
    """
    packages = list(packages)
    known = dict(there) | {str(canonicalize_name(name)): version for name, version, _ in packages}
    problems = []
    for name, _, requirements in packages:
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate(TARGET):
                continue
            needed = str(canonicalize_name(requirement.name))
            if needed in NOT_NEEDED:
                continue
            if needed not in known:
                problems.append(f"{name} needs {text}: it is neither brought along nor on the machine")
                continue
            version = known[needed]
            if version is not None and not requirement.specifier.contains(version, prereleases=True):
                problems.append(f"{name} needs {text}, but there is {needed} {version}")
    return problems
