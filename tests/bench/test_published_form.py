"""The baseline: the same masks and logits as ours, by the modules as they stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ossnet.bench.end_to_end import segment_as_published, segment_once
from napari_ossnet.bench.networks import Contender
from napari_ossnet.bench.published_form import published_field
from napari_ossnet.bench.scans import BenchScan
from napari_ossnet.bench.timing import drain
from napari_ossnet.engine.checkpoints import load_checkpoint
from napari_ossnet.engine.fields.build import build_field
from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.networks.patch_encoder import PatchEncoder
from napari_ossnet.engine.tasks import PreparedVolume

CPU = torch.device("cpu")


@pytest.mark.parametrize("shift", [0.0, 0.3], ids=["at voxels", "between voxels"])
def test_the_plain_decoder_answers_as_the_folded_one(
    a_contender: Contender, a_prepared_scan: PreparedVolume, shift: float
) -> None:
    ours = drain(build_field(load_checkpoint(a_contender.path).network, a_prepared_scan, device=CPU))
    plain = published_field(load_checkpoint(a_contender.path).network, a_prepared_scan, CPU)
    locations = torch.randint(-2, 34, (200, 3)).float() + shift
    torch.testing.assert_close(plain.query(locations), ours.query(locations), atol=1e-4, rtol=1e-4)
    assert torch.equal(plain.prior(locations), ours.prior(locations))


def test_every_part_of_the_baseline_is_in_the_published_form(
    a_contender: Contender, a_prepared_scan: PreparedVolume
) -> None:
    network = load_checkpoint(a_contender.path).network
    published_field(network, a_prepared_scan, CPU)
    parts = [module for module in network.modules() if isinstance(module, (PadeActivation, PatchEncoder))]
    assert len(parts) > 5
    assert all(part.is_published_form for part in parts)


def test_a_run_is_timed_from_the_encoding_to_the_mask(a_contender: Contender, a_scan: BenchScan) -> None:
    run = segment_once(a_scan.volume, a_contender)
    assert run.labels.shape == a_scan.volume.shape
    assert 0 < run.locations <= run.labels.size
    assert 0 < run.encoding_s < run.seconds
    assert 0 < run.after_encoding_s < run.first_snapshot_s


def test_the_published_schedule_asks_only_inside_the_prior(a_contender: Contender, a_scan: BenchScan) -> None:
    run = segment_as_published(a_scan.volume, a_contender)
    ours = segment_once(a_scan.volume, a_contender, schedule="published-prior")
    assert run.locations == ours.locations
    assert np.array_equal(run.labels, ours.labels)
