"""Tables of docs/scaling.md: the measured exchange of gradients, and what follows from it and from assumptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from docs.generate.result_tables import read_rows
from docs.generate.speed_tables import FIT, Speeds, cell
from docs.results.scaling.measure import EXCHANGE, PARAMETERS, STEP, STEP_ALONE
from docs.results.speed.job import LOADING
from woof_lightning.compare.tables import markdown_table, three_digits
from woof_lightning.measure.statistics import Estimate, median_of

BYTES_OF_FP32 = 4
BITS_OF_BYTE, GIGA, MILLI = 8, 1e9, 1e-3
# AdamW in fp32: the weights, their gradients, and two moments.
BYTES_OF_STATES = 4 * BYTES_OF_FP32


@dataclass(frozen=True)
class Link:
    """What connects GPUs.

    Args:
        name: Its name.
        gb_per_s: Bandwidth in one direction, in 1e9 bytes per second.
        gpus: Number of GPUs that exchange over it: those of one node, or of all.
        source: Where the bandwidth is from.
    """

    name: str
    gb_per_s: float
    gpus: int
    source: str


GPUS_OF_NODE, NODES = 8, 4
ALL_GPUS = GPUS_OF_NODE * NODES
LINKS = (
    Link("NVLink 4", 450, GPUS_OF_NODE, "NVIDIA's data sheet of the H100: 900 GB/s in both directions together"),
    Link("PCIe 4.0 x16", 32, GPUS_OF_NODE, "PCI-SIG: 16 GT/s on each of 16 lanes"),
    Link("Ethernet, 100 Gbit/s", 100 / BITS_OF_BYTE, ALL_GPUS, "its name; one link for each node"),
    Link("Ethernet, 25 Gbit/s", 25 / BITS_OF_BYTE, ALL_GPUS, "its name; one link for each node"),
)
GPU_IMAGES_PER_S = 3000
# The recipe's.
BATCH_SIZE = 128
BACKWARD_SHARE = 2 / 3
GPU_MEMORY_GB = 80
# The loaded images of docs/speed.md.
LOADED_SIZE_PX = 224
LOADED_WAYS = {FIT: "woof fit, decoded once", "woof_fit_batch_path": "woof fit, decoding each time"}
NETS = {"ResNet-18": None, "a net of 300 million": 3e8, "a net of 1 billion": 1e9, "a net of 7 billion": 7e9}


def values_of(folder: Path) -> dict[str, list[float]]:
    """Returns the measured values by name, in the order of their repeats."""
    found: dict[str, list[float]] = {}
    for row in sorted(read_rows(folder / "rows.csv"), key=lambda row: int(row["repeat"])):
        found.setdefault(row["name"], []).append(float(row["value"]))
    return found


def parameters_of(folder: Path) -> float:
    """Returns the number of parameters of the measured net."""
    return values_of(folder)[PARAMETERS][0]


def gradient_bytes(folder: Path) -> float:
    """Returns the size of its gradients in fp32."""
    return parameters_of(folder) * BYTES_OF_FP32


def ring_s(size_bytes: float, count: int, gb_per_s: float) -> float:
    """Returns the time of a ring all-reduce: each sends 2(n-1)/n of the bytes through its link.

    Args:
        size_bytes: The size of what is summed.
        count: Number of those who take part.
        gb_per_s: Bandwidth of the slowest link in one direction.
    """
    return 2 * (count - 1) / count * size_bytes / (gb_per_s * GIGA)


def measured(folder: Path) -> Mapping[str, Estimate]:
    """Returns the medians of what was measured, in ms, and of what follows repeat by repeat.

    Returns:
        exchange, step, step_alone and extra (what the exchange adds to a step) in ms; visible (extra as a share of the
        exchange alone, in percent); more (extra as a share of the step without it, in percent); gb_per_s.
    """
    values = values_of(folder)
    triples = list(zip(values[EXCHANGE], values[STEP], values[STEP_ALONE], strict=True))
    size_bytes, processes = gradient_bytes(folder), int(read_rows(folder / "rows.csv")[0]["processes"])
    sent_gb = 2 * (processes - 1) / processes * size_bytes / GIGA
    samples = {
        "exchange": [exchange / MILLI for exchange, _, _ in triples],
        "step": [step / MILLI for _, step, _ in triples],
        "step_alone": [alone / MILLI for _, _, alone in triples],
        "extra": [(step - alone) / MILLI for _, step, alone in triples],
        "visible": [100 * (step - alone) / exchange for exchange, step, alone in triples],
        "more": [100 * (step - alone) / alone for _, step, alone in triples],
        "gb_per_s": [sent_gb / exchange for exchange, _, _ in triples],
    }
    return {name: median_of([sample]) for name, sample in samples.items()}


def exchange_table(folder: Path) -> str:
    """The measured times."""
    row, found = read_rows(folder / "rows.csv")[0], measured(folder)
    names = {
        "exchange": "all-reduce of the gradients alone, ms",
        "gb_per_s": "bandwidth that it reaches, GB/s",
        "step_alone": "step without the exchange, ms",
        "step": "step of DDP, ms",
        "extra": "what the exchange adds to a step, ms",
        "more": "the same in percent of the step without it",
        "visible": "the same in percent of the all-reduce alone",
    }
    table = markdown_table(("measured", "median (95 % interval)"), [[n, cell(found[key])] for key, n in names.items()])
    return (
        f"ResNet-18, {three_digits(parameters_of(folder) / 1e6)} million parameters, "
        f"{three_digits(gradient_bytes(folder) / 1e6)} MB of gradients in fp32; {row['processes']} processes, "
        f"{row['batch_size']} images of {row['size_px']} px for each; {found['step'].repeats} repeats.\n\n{table}"
    )


def assumptions_table(_: Path) -> str:
    """What the projections take as given."""
    links = [[link.name, f"{three_digits(link.gb_per_s)} GB/s in one direction", link.source] for link in LINKS]
    others = [
        ["a GPU's speed", f"{GPU_IMAGES_PER_S:,} images/s of ResNet-18", "assumed; measure yours with `woof fit`"],
        ["the backward pass", "two thirds of a step", "it takes two matrix products where the forward pass takes one"],
        ["memory of a GPU", f"{GPU_MEMORY_GB} GB", "an H100"],
        ["GPUs", f"{GPUS_OF_NODE} in a node, {ALL_GPUS} in {NODES} nodes", "assumed"],
    ]
    return markdown_table(("what", "assumed", "source"), [*links, *others])


def speed_left(exchange_s: float, images: float) -> tuple[float, float]:
    """Returns the share of the GPUs' speed that is left: with no overlap, and if the backward pass hides all it can.

    Args:
        exchange_s: The time of the exchange.
        images: Images of a GPU in a step.
    """
    step_s = images / GPU_IMAGES_PER_S
    visible_s = max(0.0, exchange_s - BACKWARD_SHARE * step_s)
    return step_s / (step_s + exchange_s), step_s / (step_s + visible_s)


def prediction_table(folder: Path) -> str:
    """The exchange over each link, and the speed that is left."""
    rows = []
    for link in LINKS:
        exchange_s = ring_s(gradient_bytes(folder), link.gpus, link.gb_per_s)
        shares = [speed_left(exchange_s, images) for images in (BATCH_SIZE, BATCH_SIZE / link.gpus)]
        cells = [f"{100 * without:.0f} to {100 * hidden:.0f} %" for without, hidden in shares]
        rows.append([link.name, str(link.gpus), three_digits(exchange_s / MILLI), *cells])
    header = [f"speed left, {BATCH_SIZE} images {whose}" for whose in ("for each GPU", "in all")]
    return markdown_table(("link", "GPUs", "exchange, ms", *header), rows)


def rate_of_core(folder: Path, way: str) -> float:
    """Returns the images per second that one core loads, as measured.

    Args:
        folder: The rows of docs/speed.md.
        way: The way that loads them.
    """
    rate = Speeds.read(folder).median((LOADING, "", LOADED_SIZE_PX, way, "loaded_per_s"))
    if rate is None:
        raise LookupError(f"no rate of {way}")
    return rate.median


def loading_table(folder: Path) -> str:
    """The images that the GPUs take, and the cores that load them."""
    rows = []
    for gpus, of_nodes in ((1, 1), (GPUS_OF_NODE, 1), (ALL_GPUS, NODES)):
        wanted = gpus * GPU_IMAGES_PER_S
        cores = [three_digits(wanted / of_nodes / rate_of_core(folder, way)) for way in LOADED_WAYS]
        rows.append([f"{gpus} in {of_nodes} node{'s' if of_nodes > 1 else ''}", f"{wanted:,}", *cores])
    header = [f"cores of each node: {label}" for label in LOADED_WAYS.values()]
    return markdown_table(("GPUs", "images/s", *header), rows)


def states_table(folder: Path) -> str:
    """The memory of weights, gradients and moments: whole on each GPU, and divided."""
    rows = []
    for name, count in NETS.items():
        whole_gb = (count or parameters_of(folder)) * BYTES_OF_STATES / GIGA
        divided = [three_digits(whole_gb / gpus) for gpus in (GPUS_OF_NODE, ALL_GPUS)]
        fits = "yes" if whole_gb < GPU_MEMORY_GB else "no"
        rows.append([name, three_digits(whole_gb), f"{fits}", *divided])
    header = ("net", "DDP, GB on each GPU", f"below {GPU_MEMORY_GB} GB", f"FSDP on {GPUS_OF_NODE}", f"on {ALL_GPUS}")
    return markdown_table(header, rows)


SCALING_TABLES: dict[str, Callable[[Path], str]] = {
    "scaling-exchange": exchange_table,
    "scaling-assumptions": assumptions_table,
    "scaling-prediction": prediction_table,
    "scaling-loading": loading_table,
    "scaling-states": states_table,
}


def scaling_text(folder: Path, name: str) -> str:
    """A median of what was measured, by its name in `measured`."""
    return three_digits(measured(folder)[name].median)


def scaling_bytes_text(folder: Path) -> str:
    """The size of the gradients, in MB."""
    return three_digits(gradient_bytes(folder) / 1e6)


def scaling_most_text(_: Path) -> str:
    """The number of parameters whose states fill a GPU, in billions."""
    return three_digits(GPU_MEMORY_GB / BYTES_OF_STATES)


def scaling_hidden_text(folder: Path, link: str) -> str:
    """The fewest images of a GPU in a step with which the backward pass is as long as the exchange.

    Args:
        folder: The rows.
        link: The link's number, from 0.
    """
    chosen = LINKS[int(link)]
    exchange_s = ring_s(gradient_bytes(folder), chosen.gpus, chosen.gb_per_s)
    return three_digits(exchange_s / BACKWARD_SHARE * GPU_IMAGES_PER_S)


SCALING_VALUES: dict[str, Callable[..., str]] = {
    "scaling": scaling_text,
    "scaling_bytes": scaling_bytes_text,
    "scaling_most": scaling_most_text,
    "scaling_hidden": scaling_hidden_text,
}
