"""Published state dicts against the numbers that the published networks compute with them.

One case a file ``expected_<variant>_<data set>.npz`` in the folder that ``OSSNET_FIXTURES`` names. The rule that fills
the state dicts, and the layouts, lie in the same folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.fields.protocol import OccupancyField
from napari_ossnet.engine.networks.oss_net import OSSNet, use_published_form
from napari_ossnet.engine.patches import PatchSampler
from napari_ossnet.engine.tasks import PreparedVolume, Task, get_task, prepare
from napari_ossnet.engine.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(os.environ.get("OSSNET_FIXTURES", ROOT.parent / "shared" / "fixtures"))
EXPECTED = [
    *sorted(FIXTURES.glob("expected_o_net_*.npz")),
    *sorted(FIXTURES.glob("expected_oss_net_*.npz")),
]
#: Shapes of the raw volumes that the fixtures are made from.
RAW = {"bra_ts": (4, (240, 240, 155)), "lits": (1, (96, 112, 80))}
#: World directions of the grid's axes.
AXES = {"LPS": np.diag([-1.0, -1.0, 1.0, 1.0]), "RAS": np.eye(4)}
TOLERANCE = 1e-5


def load_rule(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_rule", folder / "fill_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def a_fill_rule(a_fixtures_folder: Path) -> ModuleType:
    return load_rule(a_fixtures_folder)


@pytest.fixture(scope="module")
def the_layouts(a_fixtures_folder: Path) -> dict[str, dict[str, list[int]]]:
    layouts = json.loads((a_fixtures_folder / "layouts.json").read_text(encoding="utf-8"))
    return {name: layout for name, layout in layouts.items() if name != "pfseg"}


@pytest.fixture(scope="module")
def prepared_volumes(a_fill_rule: ModuleType) -> dict[str, PreparedVolume]:
    """Scans that were prepared already, by data set; the raw volumes take seconds to make."""
    return {}


def fill(rule: ModuleType, layout: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(rule.tensor_for(key, tuple(shape))) for key, shape in layout.items()}


def prepare_scan(rule: ModuleType, data_set: str, known: dict[str, PreparedVolume]) -> PreparedVolume:
    """The fixture's scan through the path that a user's scan takes."""
    if data_set not in known:
        task: Task = get_task("brats" if data_set == "bra_ts" else data_set)
        channels, shape = RAW[data_set]
        volume = Volume(
            data=rule.volume(f"volume/{data_set}", channels, shape),
            affine=AXES[task.axes],
            channel_names=tuple(modality.name for modality in task.modalities),
            affine_codes=(1, 1),
        )
        known.clear()
        known[data_set] = prepare(task, volume)
    return known[data_set]


def names_of(path: Path) -> tuple[str, str]:
    """Layout and data set of a file ``expected_<layout>.npz``."""
    layout = path.stem.removeprefix("expected_")
    return layout, "bra_ts" if layout.endswith("bra_ts") else "lits"


def run(steps: Generator[Progress, None, OccupancyField]) -> OccupancyField:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def plain_probability(
    network: OSSNet, prepared: PreparedVolume, points: torch.Tensor, latent: torch.Tensor
) -> np.ndarray:
    """Through the network as published: tiny convolutions, conditional norms, latent vectors joined."""
    config = network.config
    patches = None
    if config.patch_channels:
        grid = torch.from_numpy(prepared.grid)[None]
        sampler = PatchSampler(grid, has_local=True, has_mid_range=config.has_mid_range_patches)
        patches = sampler.at_voxels(points[None])
    use_published_form(network)
    logits = network.decode(points[None].float(), patches, latent)
    use_published_form(network, is_published_form=False)
    return logits[0, :, 0].sigmoid().numpy()


@pytest.mark.skipif(not EXPECTED, reason=f"OSSNET_FIXTURES has no expected_*.npz ({FIXTURES})")
@pytest.mark.parametrize("expected_path", EXPECTED, ids=lambda path: path.stem)
def test_a_published_network_computes_the_published_numbers(
    expected_path: Path,
    a_fill_rule: ModuleType,
    the_layouts: dict[str, dict[str, list[int]]],
    prepared_volumes: dict[str, PreparedVolume],
    tmp_path: Path,
) -> None:
    layout, data_set = names_of(expected_path)
    expected = np.load(expected_path)
    weights = tmp_path / "weights.pt"
    torch.save(fill(a_fill_rule, the_layouts[layout]), weights)
    loaded = load_checkpoint(weights)
    network = loaded.network
    assert isinstance(network, OSSNet)
    prepared = prepare_scan(a_fill_rule, data_set, prepared_volumes)
    points = torch.from_numpy(a_fill_rule.points(f"points/{data_set}", 256, prepared.grid.shape[1:]))
    np.testing.assert_array_equal(points.numpy(), expected["points"])

    with torch.no_grad():
        encoding = network.encode(torch.from_numpy(prepared.encoder_input())[None])
        np.testing.assert_allclose(encoding.latent[0].numpy(), expected["latent"], atol=TOLERANCE, rtol=0)
        if "low_resolution" in expected:
            assert encoding.auxiliary is not None
            low_resolution = encoding.auxiliary[0, 0].sigmoid().numpy()
            np.testing.assert_allclose(low_resolution, expected["low_resolution"], atol=TOLERANCE, rtol=0)
        probability = plain_probability(network, prepared, points, encoding.latent)
    np.testing.assert_allclose(probability, expected["probability"], atol=TOLERANCE, rtol=0)

    field = run(build_field(network, prepared, device=torch.device("cpu"), memory_bytes=None))
    folded = field.query(points.float())[:, 0].sigmoid().numpy()
    np.testing.assert_allclose(folded, expected["probability"], atol=TOLERANCE, rtol=0)


def test_every_published_layout_is_recognised_and_loads_strictly(
    a_fill_rule: ModuleType, the_layouts: dict[str, dict[str, list[int]]], tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    for name, layout in the_layouts.items():
        state = fill(a_fill_rule, layout)
        torch.save(state, weights)
        loaded = load_checkpoint(weights)
        kind, data_set = ("o-net", name[6:]) if name.startswith("o_net_") else (name[8], name[10:])
        assert (loaded.card.variant, loaded.card.task.name) == (kind, "brats" if data_set == "bra_ts" else data_set)
        found = loaded.network.state_dict()
        assert set(found) == set(state)
        assert all(torch.equal(found[key], tensor) for key, tensor in state.items())
