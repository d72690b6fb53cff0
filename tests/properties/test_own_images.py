"""Any folder of one's own images is trained on as it is, or one message says what is wrong with it."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st
from PIL import Image

from tests.properties.runs import SMALL, call, check_refusal, check_run, drawn, empty_folder
from woof_lightning.data.decoding import SUFFIXES, read_untrusted_image

FORMATS = {
    ".jpg": ("L", "RGB", "CMYK"),
    ".png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    ".webp": ("RGB", "RGBA"),
    ".gif": ("L", "P"),
    ".bmp": ("1", "L", "RGB"),
    ".tif": ("1", "L", "RGB", "CMYK", "I;16", "F"),
    ".jp2": ("L", "RGB"),
    ".avif": ("RGB", "RGBA"),
    ".ppm": ("L", "RGB"),
}
OTHER_NAMES = (".jpeg", ".JPG", ".jfif", ".txt", ".heic", "")
# Names as file systems hold them: any bytes but / and NUL.
NAMES = st.text("aé $^_{}%\\犬\n\x1b-.~'\"", min_size=1, max_size=8) | st.sampled_from(
    ["a\udcff", "-", "con", "x" * 80]
)
SIDES = st.sampled_from([1, 2, 3, 8, 40, 64, 300])


@dataclass(frozen=True)
class File:
    """An image to write: its name, format, pixels, orientation, and whether it is cut short."""

    name: str
    suffix: str
    mode: str
    size: tuple[int, int]
    orientation: int | None
    frames: int
    kept: float
    subfolder: bool
    other_name: str | None

    def write(self, folder: Path) -> None:
        folder = folder / "more" if self.subfolder else folder
        folder.mkdir(exist_ok=True)
        generator = np.random.default_rng(len(self.name))
        image = Image.fromarray(generator.integers(0, 255, (*self.size[::-1], 3)).astype(np.uint8))
        if self.mode == "F":
            image = Image.fromarray(np.asarray(image.convert("L"), np.float32) / 255)
        elif self.mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
        else:
            image = image.convert(self.mode)
        file = Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(self.name + (self.other_name or self.suffix))))
        options: dict[str, Any] = {}
        if self.orientation is not None and self.suffix in (".jpg", ".png", ".webp", ".tif"):
            exif = Image.Exif()
            exif[274] = self.orientation
            options["exif"] = exif
        if self.frames > 1 and self.suffix in (".gif", ".webp", ".tif", ".png"):
            options |= {"save_all": True, "append_images": [image] * (self.frames - 1)}
        written = io.BytesIO()
        image.save(written, format=Image.registered_extensions()[self.suffix], **options)
        file.write_bytes(written.getvalue()[: int(len(written.getvalue()) * self.kept)])


@st.composite
def files(draw: st.DrawFn, *, damaged: bool) -> File:
    suffix = draw(st.sampled_from(sorted(set(FORMATS) & set(SUFFIXES))))
    return File(
        name=draw(NAMES),
        suffix=suffix,
        mode=draw(st.sampled_from(FORMATS[suffix])),
        size=(draw(SIDES), draw(SIDES)),
        orientation=draw(st.none() | st.integers(0, 9)),
        frames=draw(st.integers(1, 3)),
        kept=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])) if damaged else 1.0,
        subfolder=draw(st.booleans()),
        other_name=draw(st.none() | st.sampled_from(OTHER_NAMES)),
    )


@st.composite
def folders(draw: st.DrawFn) -> dict[str, dict[str, list[File]]]:
    """Returns the files of each class of each split. One folder of four has a fault that the user must mend."""
    faulty = draw(st.integers(0, 3)) == 0
    shown = NAMES.filter(lambda name: not name.startswith("."))
    names = draw(st.lists(shown, min_size=1 if faulty else 2, max_size=3, unique=True))
    found = st.lists(files(damaged=faulty), min_size=1 if faulty else 3, max_size=5)
    made = {split: {name: draw(found) for name in names} for split in ("train", "val")}
    if faulty and draw(st.booleans()):
        made["val"].pop(names[0])
    return made


@pytest.mark.long
@drawn
@given(folder=folders(), batch_size=st.sampled_from([1, 2, 2, 4, 4]))
def test_a_folder_is_trained_on_or_refused(folder: dict[str, dict[str, list[File]]], batch_size: int) -> None:
    with empty_folder() as place:
        root = place / "own"
        for split, classes in folder.items():
            (root / split).mkdir(parents=True)
            for name, given_files in classes.items():
                where = Path(os.fsdecode(os.fsencode(root / split) + b"/" + os.fsencode(name)))
                where.mkdir(exist_ok=True)
                for file in given_files:
                    file.write(where)
        options = ["--data.folder", root, f"--data.batch_size={batch_size}", "--trainer.max_epochs=1"]
        done = call("fit", *SMALL, *options, "--trainer.accelerator=cpu", "--name", "run")
        note(f"{folder}\n{done.out}\n{done.err}\n{done.code}")
        event(f"exit code {done.code}")
        if done.code != 0:
            check_refusal(done)
            return
        result = check_run()
        shown = {split: files_of(root / split) for split in folder}
        used = {split: [one for one in found if one.name.lower().endswith(SUFFIXES)] for split, found in shown.items()}
        assert {split: result["data"][split] for split in used} == {split: len(used[split]) for split in used}
        passed_over = sum(len(shown[split]) - len(used[split]) for split in folder)
        hidden = {"hidden file", "hidden folder"}
        told = {kind: count for kind, count in result["data"].get("not_used", {}).items() if kind not in hidden}
        assert sum(told.values()) == passed_over
        assert ("files that are not used" in done.err) == ("not_used" in result["data"])
        for one in (*used["train"], *used["val"]):
            assert read_untrusted_image(one).shape[0] == 3
        answers = json.loads(call("predict", "--ckpt", "runs/run", root / "val", "--json").out)
        assert len(answers) == len(used["val"])


def files_of(folder: Path) -> list[Path]:
    """Returns all files below a folder that are not hidden."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
