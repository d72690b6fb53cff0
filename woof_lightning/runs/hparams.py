"""Writes a run's settings for TensorBoard's HPARAMS page, which shows them beside the last value of each metric."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from woof_lightning.runs.config import flatten

EVENTS = "events.out.tfevents.*"
SUFFIX = ".hparams"


def write_hparams(folder: Path, settings: dict[str, Any], *, finished: bool) -> None:
    """Writes an event file with the settings of a run into its folder, beside those of its metrics.

    A resumed run replaces the file of its earlier part, so each run is one row. The page takes the metrics from the
    other event files; if there are none, nothing is written. No list of columns is written either: TensorBoard would
    take that of one run for all, and hide the settings that other runs have.

    Args:
        folder: The run's folder.
        settings: The settings, nested.
        finished: Whether the training is complete.
    """
    written = [*folder.glob(EVENTS)]
    for file in written:
        if file.name.endswith(SUFFIX):
            file.unlink()
    if all(file.name.endswith(SUFFIX) for file in written):
        return
    # Imported here because it takes a second.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # Its public name, in api, needs TensorFlow.
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    # Runs with the same settings are rows of their own, too.
    begin = hparams_pb(plain(settings), trial_id=folder.name)
    status = Status.STATUS_SUCCESS if finished else Status.STATUS_UNKNOWN
    end_info = SessionEndInfo(status=status, end_time_secs=time.time())
    end = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=end_info)),
        tensor=metadata.NULL_TENSOR,
    )
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    for summary in (begin, Summary(value=[end])):
        writer.add_event(Event(wall_time=time.time(), summary=summary))
    writer.close()


def plain(settings: dict[str, Any]) -> dict[str, bool | float | str]:
    """Returns settings with dotted keys as TensorBoard takes them: lists as text, and none that are null.

    Args:
        settings: The settings, nested.
    """
    set_ones = {key: value for key, value in flatten(settings).items() if value is not None}
    return {key: v if isinstance(v, (bool, int, float, str)) else json.dumps(v) for key, v in set_ones.items()}
