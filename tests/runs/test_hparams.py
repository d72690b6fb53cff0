"""TensorBoard's HPARAMS page has one row for each run: its settings, and the metrics of the finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from tests.conftest import Woof
from woof_lightning.compare.events import event_files, read_events
from woof_lightning.runs.hparams import plain, write_hparams


def rows(logdir: Path) -> dict[str, tuple[dict[str, Any], dict[str, float], int]]:
    """The rows of the page, as TensorBoard's own backend computes them: settings, metrics and status of each run."""
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(logdir))
    events.Reload()
    backend = Context(TBContext(data_provider=MultiplexerDataProvider(events, str(logdir)), multiplexer=events))
    ask = context.RequestContext()
    experiment = get_experiment.Handler(ask, backend, "", api_pb2.GetExperimentRequest()).run()
    columns = [api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos]
    columns += [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[*api_pb2.Status.values()], start_index=0, slice_size=100, col_params=columns
    )
    found = {}
    for group in list_session_groups.Handler(ask, backend, "", request).run().session_groups:
        (session,) = group.sessions
        settings = {key: getattr(value, str(value.WhichOneof("kind"))) for key, value in group.hparams.items()}
        metrics = {one.name.tag: one.value for one in group.metric_values}
        found[session.name] = (settings, metrics, session.status)
    return found


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"], ["loop", "lightning"], ["loop", "fabric"]], ids=" ".join)
def test_a_run_is_a_row_with_its_final_metrics(verb: list[str], woof: Woof, small_fit: list[str]) -> None:
    options = [*verb, *small_fit, "--trainer.log_every_n_steps", 4]
    for seed in (3, 4):
        assert woof(*options, "--name", f"seed-{seed}", "--seed_everything", seed).code == 0
    found = rows(Path("runs"))
    assert sorted(found) == ["seed-3", "seed-4"]
    settings, metrics, status = found["seed-3"]
    assert settings["seed_everything"] == 3
    assert settings["loop"] == (verb[-1] if len(verb) > 1 else "woof_fit")
    assert (settings["data.image_size"], settings["model.schedule"]) == (32, "onecycle")
    assert settings["data.download"] is True
    assert "data.folder" not in settings
    assert status == api_pb2.STATUS_SUCCESS
    if verb[-1] != "lightning":  # It leaves no result.json.
        final = json.loads(Path("runs/seed-3/result.json").read_text(encoding="utf-8"))["final"]
        assert metrics["val/acc1"] == pytest.approx(final["val/acc1"])
        assert metrics["val/loss"] == pytest.approx(final["val/loss"])
    assert metrics["val/loss"] != found["seed-4"][1]["val/loss"]


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]], ids=" ".join)
def test_a_resumed_run_is_one_row_with_the_metrics_of_its_end(
    verb: list[str], woof: Woof, small_fit: list[str]
) -> None:
    options = [*verb, *small_fit, "--name", "run", "--model.schedule", "step", "--model.optimizer", "sgd"]
    assert woof(*options, "--trainer.max_epochs", 1).code == 0
    first = rows(Path("runs"))
    assert woof(*options, "--trainer.max_epochs", 3, "--resume").code == 0
    found = rows(Path("runs"))
    assert len(found) == len(first) == 1
    (settings, metrics, _), (_, before, _) = found["run"], first["run"]
    assert settings["trainer.max_epochs"] == 3
    final = json.loads(Path("runs/run/result.json").read_text(encoding="utf-8"))["final"]
    assert metrics["val/loss"] == pytest.approx(final["val/loss"])
    assert metrics["val/loss"] != before["val/loss"]
    assert len([*Path("runs/run").glob("*.hparams")]) == 1
    events = read_events(event_files(Path("runs/run")))
    assert (events.restarts, events.damages) == ([], [])
    assert events.series["val/loss"].step == [4, 8, 12]
    assert woof(*options, "--trainer.max_epochs", 1, "--overwrite").code == 0
    assert rows(Path("runs"))["run"][0]["trainer.max_epochs"] == 1


def test_a_run_that_stopped_early_is_not_called_finished(woof: Woof, small_fit: list[str]) -> None:
    options = ["fit", *small_fit, "--name", "run", "--trainer.max_time", '{"milliseconds": 1}']
    assert woof(*options).code == 0
    assert json.loads(Path("runs/run/result.json").read_text(encoding="utf-8"))["status"] == "stopped early"
    assert rows(Path("runs"))["run"][2] == api_pb2.STATUS_UNKNOWN


def test_without_events_there_is_no_row(woof: Woof, small_fit: list[str]) -> None:
    assert woof("fit", *small_fit, "--name", "run", "--trainer.logger", "false").code == 0
    assert not [*Path("runs/run").glob("*tfevents*")]


def test_a_row_without_metrics_is_not_written(tmp_path: Path) -> None:
    write_hparams(tmp_path, {"a": 1}, finished=True)
    assert [*tmp_path.iterdir()] == []


def test_settings_are_flat_and_of_kinds_that_tensorboard_knows() -> None:
    settings = {"a": {"b": True, "c": None, "d": {"e": [1, "x"]}}, "f": 0.5, "g": "text", "h": {}}
    assert plain(settings) == {"a.b": True, "a.d.e": '[1, "x"]', "f": 0.5, "g": "text", "h": "{}"}
