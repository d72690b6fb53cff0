from __future__ import annotations

import ast
import csv
import errno
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.ways import needs
from woof_lightning.data import archives, imagewoof
from woof_lightning.data.archives import MIB, Archive, download
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import index_folder
from woof_lightning.data.imagewoof import Breed, open_data, prepare_data, unpack
from woof_lightning.errors import UserError

TOP = "imagewoof2-160"


@pytest.fixture
def small_woof(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small data set. The official numbers of images are patched to match it."""
    index = index_folder(small_folder)
    monkeypatch.setattr(imagewoof, "BREEDS", {name: Breed(f"breed of {name}", 8, 4) for name in index.classes})
    with (small_folder / imagewoof.NOISY_LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "noisy_labels_0", "noisy_labels_50", "is_valid"])
        for sample in index.train:
            writer.writerow([sample.path, index.classes[sample.label], index.classes[1 - sample.label], False])
        for sample in index.val:
            writer.writerow([sample.path, index.classes[sample.label], index.classes[sample.label], True])
    return small_folder


@needs("fastai")
def test_addresses_sizes_and_checksums_are_those_of_fastai() -> None:
    """Who publishes the archives; the checksums are of their first MiB."""
    official = ast.literal_eval(
        resources.files("fastai").joinpath("data/download_checks.py").read_text(encoding="utf-8")
    )
    for archive in archives.ARCHIVES.values():
        assert official[archive.url] == (archive.size_bytes, archive.first_mib_md5)


def packed(folder: Path, target: Path, top: str = TOP) -> Path:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, top)
    return target


def with_member(target: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(target, "w:gz") as tar:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_local_archive_is_unpacked_and_used(small_woof: Path, tmp_path: Path) -> None:
    archive = packed(small_woof, tmp_path / "mine.tgz")
    index = prepare_data(DataConfig(root=tmp_path / "root", variant="160px", archive=archive))
    assert index.counts() == {"train": 16, "val": 8}
    assert index.breeds[0] == f"breed of {index.classes[0]}"
    assert contents(tmp_path / "root" / TOP) == contents(small_woof)
    assert [p.name for p in (tmp_path / "root").iterdir()] == [TOP]


def test_archive_with_missing_images_is_refused(small_woof: Path, tmp_path: Path) -> None:
    next((small_woof / "train").rglob("*.JPEG")).unlink()
    archive = packed(small_woof, tmp_path / "mine.tgz")
    with pytest.raises(UserError, match=r"mine.tgz does not hold the whole of Imagewoof .*7 images, expected 8"):
        unpack(archive, tmp_path / "root" / TOP)
    assert not list((tmp_path / "root").iterdir())


def test_an_incomplete_data_set_on_disk_is_refused(small_woof: Path, tmp_path: Path) -> None:
    shutil.copytree(small_woof, tmp_path / "root" / TOP)
    next((tmp_path / "root" / TOP / "val").rglob("*.JPEG")).unlink()
    with pytest.raises(UserError, match="3 images, expected 4"):
        open_data(DataConfig(root=tmp_path / "root", variant="160px"))


@pytest.mark.parametrize("damage", ["truncated", "html", "empty"])
def test_damaged_archive_is_refused_and_leaves_nothing(small_woof: Path, tmp_path: Path, damage: str) -> None:
    archive = packed(small_woof, tmp_path / "mine.tgz")
    whole = archive.read_bytes()
    archive.write_bytes({"truncated": whole[: len(whole) // 2], "html": b"<html>" * 100, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"mine.tgz cannot be unpacked"):
        unpack(archive, tmp_path / "root" / TOP)
    assert not list((tmp_path / "root").iterdir())


@pytest.mark.parametrize("root_is_there", [True, False])
def test_a_full_disk_is_not_reported_as_a_damaged_archive(
    small_woof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root_is_there: bool
) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", no_space_left)
    root, archive = tmp_path / "root", packed(small_woof, tmp_path / "mine.tgz")
    if root_is_there:
        root.mkdir()
    with pytest.raises(UserError, match=r"could not be written \(No space left.*data.root"):
        prepare_data(DataConfig(root=root, variant="160px", archive=archive))
    assert (
        [p.name for p in root.iterdir() if not p.name.endswith(".lock")] == [] if root_is_there else not root.exists()
    )


def test_a_full_disk_keeps_the_download(
    serve: Any,
    small_woof: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = packed(small_woof, tmp_path / "mine.tgz").read_bytes()
    monkeypatch.setattr(archives, "BASE_URL", serve(content).removesuffix("x.tgz"))
    monkeypatch.setitem(archives.ARCHIVES, "160px", Archive(TOP, len(content), hashlib.md5(content).hexdigest()))
    config = DataConfig(root=tmp_path / "root", variant="160px")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", no_space_left)
        with pytest.raises(UserError, match="make room"):
            prepare_data(config)
    assert (tmp_path / "root" / f"{TOP}.tgz").read_bytes() == content
    assert len(prepare_data(config).train) == 16


def no_space_left(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_archive_with_another_folder_is_refused(small_woof: Path, tmp_path: Path) -> None:
    archive = packed(small_woof, tmp_path / "mine.tgz", top="imagenette2-160")
    with pytest.raises(UserError, match=f"holds no folder {TOP}/"):
        unpack(archive, tmp_path / "root" / TOP)


def hostile_members() -> dict[str, tarfile.TarInfo]:
    members = {name: tarfile.TarInfo(f"{TOP}/{name}") for name in ("link", "hardlink", "device", "fifo")}
    members["link"].type, members["link"].linkname = tarfile.SYMTYPE, "/etc/passwd"
    members["hardlink"].type, members["hardlink"].linkname = tarfile.LNKTYPE, "/etc/passwd"
    members["device"].type, members["fifo"].type = tarfile.CHRTYPE, tarfile.FIFOTYPE
    paths = {"above": f"{TOP}/../../evil", "absolute": "/tmp/evil"}
    paths |= {
        "above on Windows": f"{TOP}/..\\..\\evil",
        "absolute on Windows": f"{TOP}/C:\\evil",
        "drive": f"{TOP}/C:/evil",
    }
    return members | {name: tarfile.TarInfo(path) for name, path in paths.items()}


@pytest.mark.parametrize("kind", sorted(hostile_members()))
def test_hostile_members_are_refused(tmp_path: Path, kind: str) -> None:
    archive = with_member(tmp_path / "bad.tgz", hostile_members()[kind])
    with pytest.raises(UserError, match="leaves the folder or is neither a file nor a folder"):
        unpack(archive, tmp_path / "a" / "root" / TOP)
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/evil").exists()
    assert not list((tmp_path / "a" / "root").iterdir())


def test_archive_bomb_is_refused(tmp_path: Path) -> None:
    archive = with_member(tmp_path / "bomb.tgz", tarfile.TarInfo(f"{TOP}/train/x/1.JPEG"), b"\0" * 10_000_000)
    with pytest.raises(UserError, match="more than 10 times its size"):
        unpack(archive, tmp_path / "root" / TOP)
    assert not list((tmp_path / "root").iterdir())


def test_leftovers_of_a_killed_unpacking_are_removed(small_woof: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "root" / f".{TOP}.unpacking-dead"
    leftover.mkdir(parents=True)
    unpack(packed(small_woof, tmp_path / "mine.tgz"), tmp_path / "root" / TOP)
    assert not leftover.exists()


def test_an_unreadable_archive_is_named(small_woof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(small_woof, tmp_path / "mine.tgz")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != archive)  # The root user may read everything.
    with pytest.raises(UserError, match=r"data.archive is .*mine.tgz: it cannot be read"):
        prepare_data(DataConfig(root=tmp_path / "root", variant="160px", archive=archive))


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.archive is .*none.tgz: there is no such file"):
        prepare_data(DataConfig(root=tmp_path, variant="160px", archive=tmp_path / "none.tgz"))


def test_missing_data_names_every_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepare_data(DataConfig(root=tmp_path, variant="160px", download=False))
    for way_out in ("data.download", "data.archive", "data.folder", "--config demo"):
        assert way_out in str(caught.value)


def test_noisy_labels_come_from_the_table(small_woof: Path, tmp_path: Path) -> None:
    config = DataConfig(root=tmp_path / "root", variant="160px", archive=packed(small_woof, tmp_path / "a.tgz"))
    clean = prepare_data(config)
    noisy = prepare_data(replace(config, noisy_labels=50))
    assert [s.label for s in noisy.train] == [1 - s.label for s in clean.train]
    assert noisy.val == clean.val
    assert noisy.fingerprint != clean.fingerprint


def test_noisy_labels_of_other_images_are_refused(small_folder: Path) -> None:
    with pytest.raises(UserError, match="data.noisy_labels is 5, but .* does not exist"):
        open_data(DataConfig(folder=small_folder, noisy_labels=5))


class Server(BaseHTTPRequestHandler):
    """Serves bytes, with or without support for ranges, all of them or only up to a cut."""

    def __init__(self, content: bytes, ranges: bool, cut_at: int | None, *args: object) -> None:
        self.content, self.ranges, self.cut_at = content, ranges, cut_at
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        start = 0
        if self.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : self.cut_at])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def content() -> bytes:
    return bytes(range(256)) * 6000


@pytest.fixture
def archive(content: bytes) -> Archive:
    return Archive("x", len(content), hashlib.md5(content[:MIB]).hexdigest())


@pytest.fixture
def serve() -> Iterator[object]:
    servers = []

    def start(content: bytes, ranges: bool = True, cut_at: int | None = None) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, content, ranges, cut_at))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/x.tgz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_download_is_checked_and_moved_into_place(serve, content: bytes, archive: Archive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    download(serve(content), tmp_path / "x.tgz", archive)
    assert (tmp_path / "x.tgz").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["x.tgz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_resumes(serve, content: bytes, archive: Archive, tmp_path: Path, ranges: bool) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="could not be downloaded"):
        download(serve(content, ranges, cut_at=700_000), tmp_path / "x.tgz", archive)
    assert not (tmp_path / "x.tgz").exists()
    assert (tmp_path / "x.tgz.part").stat().st_size == 700_000
    download(serve(content, ranges), tmp_path / "x.tgz", archive)
    assert (tmp_path / "x.tgz").read_bytes() == content


def test_wrong_download_is_refused_and_removed(serve, content: bytes, archive: Archive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="is not the official archive"):
        download(serve(content[::-1]), tmp_path / "x.tgz", archive)
    assert not list(tmp_path.iterdir())


def test_a_download_that_cannot_be_unpacked_is_not_kept(serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    content = b"no archive"
    monkeypatch.setattr(archives, "BASE_URL", serve(content).removesuffix("x.tgz"))
    monkeypatch.setitem(archives.ARCHIVES, "160px", Archive(TOP, len(content), hashlib.md5(content).hexdigest()))
    with pytest.raises(UserError, match="cannot be unpacked"):
        prepare_data(DataConfig(root=tmp_path / "root", variant="160px"))
    assert not (tmp_path / "root").exists()


def test_no_network_names_every_way_out(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        download("http://127.0.0.1:9/x.tgz", tmp_path / "x.tgz", archive)
    for way_out in ("run the same command again", "data.archive", "data.folder", "--config demo"):
        assert way_out in str(caught.value)


@pytest.mark.real_data
def test_real_archive_is_complete(real_root: Path) -> None:
    index = open_data(DataConfig(root=real_root, variant="160px"))
    assert index.counts() == {"train": 9025, "val": 3929}
    assert index.breeds[-1] == "dingo"
    for percent, least, most in ((1, 60, 130), (50, 3000, 4700)):
        noisy = open_data(DataConfig(root=real_root, variant="160px", noisy_labels=percent))
        changed = sum(a.label != b.label for a, b in zip(index.train, noisy.train, strict=True))
        assert least < changed < most


def test_the_breeds_are_those_of_the_data_set_s_own_page() -> None:
    """https://github.com/fastai/imagenette lists them, and 9,025 training and 3,929 validation images.

    ImageNet's categories are in the order of their identifiers, and torchvision has their names in that order.
    """
    from torchvision.models import ResNet18_Weights

    listed = (
        "Australian terrier, Border terrier, Samoyed, Beagle, Shih-Tzu, English foxhound, Rhodesian ridgeback, Dingo, "
        "Golden retriever, Old English sheepdog"
    )
    breeds = imagewoof.BREEDS
    assert {breed.name.lower() for breed in breeds.values()} == set(listed.lower().split(", "))
    assert sum(breed.train for breed in breeds.values()) == 9025
    assert sum(breed.val for breed in breeds.values()) == 3929
    assert list(breeds) == sorted(breeds)
    categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    places = [categories.index(breed.name) for breed in breeds.values()]
    assert places == sorted(places)
    assert imagewoof.breed_of("n02115641") == "dingo"
    assert imagewoof.breed_of("s00000001") == "plain pointed-eared hound"
    assert imagewoof.breed_of("my cat") == "my cat"


def test_each_breed_has_1300_images_or_those_of_the_foxhound() -> None:
    """ImageNet has 1,300 training and 50 validation images a class, all of which were divided anew."""
    totals = {breed.name: breed.train + breed.val for breed in imagewoof.BREEDS.values()}
    assert totals.pop("English foxhound") == 804
    assert set(totals.values()) == {1350}
