"""Samples in columns are the samples that were put in."""

from __future__ import annotations

import pytest

from woof_lightning.data.samples import Sample, Samples

GIVEN = [Sample("train/a/1.jpg", 0, 10, 5), Sample("train/b/1.jpg", 1, 20, 6), Sample("train/b/2.jpg", 1, 30, 7)]


def test_samples_come_out_as_they_went_in() -> None:
    samples = Samples.of(GIVEN)
    assert list(samples) == GIVEN
    assert (len(samples), samples[0], samples[-1]) == (3, GIVEN[0], GIVEN[2])
    assert list(samples[::2]) == GIVEN[::2]
    assert list(Samples.of([])) == list(Samples()) == []


def test_a_class_is_added_at_the_end() -> None:
    samples = Samples()
    samples.add_class(0, [(GIVEN[0].path, 10, 5)])
    samples.add_class(1, [(path, size_bytes, changed_ns) for path, _, size_bytes, changed_ns in GIVEN[1:]])
    assert samples == Samples.of(GIVEN)
    assert list(Samples()) == [], "columns are not shared"


def test_other_labels_belong_to_paths() -> None:
    samples = Samples.of(GIVEN).with_labels({"train/b/1.jpg": 0, "train/a/1.jpg": 1, "train/b/2.jpg": 1})
    assert list(samples) == [GIVEN[0]._replace(label=1), GIVEN[1]._replace(label=0), GIVEN[2]]
    unsorted = Samples.of(reversed(GIVEN)).with_labels({sample.path: sample.size_bytes for sample in GIVEN})
    assert [sample.label for sample in unsorted] == [sample.size_bytes for sample in reversed(GIVEN)]
    with pytest.raises(KeyError, match=r"train/b/2\.jpg"):
        Samples.of(GIVEN).with_labels({"train/b/1.jpg": 0, "train/a/1.jpg": 1})


def test_samples_with_other_values_differ() -> None:
    assert Samples.of(GIVEN) != Samples.of(GIVEN[:2])
    for changes in ({"path": "x"}, {"label": 1}, {"size_bytes": 11}, {"changed_ns": 6}):
        assert Samples.of(GIVEN) != Samples.of([GIVEN[0]._replace(**changes), *GIVEN[1:]])
