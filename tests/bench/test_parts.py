"""Encoder, decoder, growth, timing, children: each part by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ossnet.bench import timing
from napari_ossnet.bench.child import Job, run_child
from napari_ossnet.bench.decoder import matmul_fraction, measure_decoder, random_voxels
from napari_ossnet.bench.encoder import measure_encoder
from napari_ossnet.bench.growth import SHAPES, AnalyticField, exponent_of, lattice_of, measure_growth
from napari_ossnet.bench.networks import Contender, trained
from napari_ossnet.bench.peers import monai_u_net
from napari_ossnet.bench.scans import BenchScan, load_scan, store_scan
from napari_ossnet.engine.errors import EngineError
from napari_ossnet.engine.refining.refinement import refine
from napari_ossnet.engine.tasks import PreparedVolume


def test_contenders_take_turns_after_a_round_that_does_not_count() -> None:
    order: list[str] = []
    rounds = timing.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert {name: len(times) for name, times in rounds.wall.items()} == {"a": 3, "b": 3}
    assert all(seconds >= 0 for times in rounds.cpu.values() for seconds in times)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The medians alone would give 10 / 2 = 5.
    assert timing.pairwise_ratio([4.0, 10.0, 60.0], [2.0, 1.0, 20.0]) == 3.0


def test_the_encoder_is_compared_with_an_equal_one(a_contender: Contender, a_prepared_scan: PreparedVolume) -> None:
    found = measure_encoder(a_contender, a_prepared_scan, "cpu", 2)
    assert found["largest_latent_difference"] < 1e-4
    assert found["ratio"] > 0


def test_the_decoder_is_compared_with_an_equal_one(a_contender: Contender, a_prepared_scan: PreparedVolume) -> None:
    found = measure_decoder(a_contender, a_prepared_scan, "cpu", 64, 2)
    assert found["largest_logit_difference"] < 1e-4
    assert found["matmul_gflops"] > 0
    assert found["matmul_fraction"] > 0


def test_the_matmul_fraction_is_taken_against_the_best_product_of_the_same_round() -> None:
    # Round 1: 1e9 and 2e9 operations a second; round 2: 4e9 and 1e9.
    large, small = 2.0 * 2048**3, 2.0 * 4096 * 512 * 512
    seconds = {
        "product 2048 x 2048 x 2048": [large / 1e9, large / 4e9],
        "product 4096 x 512 x 512": [small / 2e9, small / 1e9],
    }
    # 6.4e6 operations a location at 1e9 and at 3e9 a second: half, and three quarters.
    found = matmul_fraction([6.4e-3, 6.4e6 / 3e9], seconds)
    assert found == pytest.approx((0.5 + 0.75) / 2)


def test_random_voxels_lie_in_the_box_that_the_scan_fills(a_prepared_scan: PreparedVolume) -> None:
    voxels = random_voxels(a_prepared_scan, 5000)
    assert torch.equal(voxels, voxels.round())
    assert voxels.amin(0).tolist() == list(a_prepared_scan.box_start)
    assert voxels.amax(0).tolist() == [last - 1 for last in a_prepared_scan.box_stop]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_octree_finds_all_of_an_analytic_shape(shape: str) -> None:
    field, lattice = AnalyticField(shape), lattice_of(64)
    refined = timing.drain(refine(field, lattice, chunk_size=2**16))
    everywhere = torch.cartesian_prod(*[torch.arange(64)] * 3)
    truth = field.query(lattice.locations(everywhere))[:, 0] > 0
    assert truth.sum() > 1000
    assert torch.equal(refined.labels.flatten().bool(), truth)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prior_of_an_analytic_shape_leaves_nothing_out(shape: str) -> None:
    field = AnalyticField(shape)
    locations = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) * 256
    is_inside = field.query(locations)[:, 0] > 0
    assert field.prior(locations)[is_inside].all()
    assert not field.prior(locations).all()


def test_growth_has_a_point_for_every_size_and_adds_the_decoder() -> None:
    found = measure_growth((32, 64), ("ball",), location_s=1e-3)
    curve = found["curves"]["ball"]
    assert [point["size"] for point in curve] == [32, 64]
    assert all(point["location_us"] == pytest.approx(point["traversal_us"] + 1000) for point in curve)
    assert found["exponent"] == pytest.approx(np.log2(curve[1]["locations"] / curve[0]["locations"]))


def test_the_exponent_of_a_power_is_the_power() -> None:
    assert exponent_of((64, 128, 256), [64**2, 128**2, 256**2]) == pytest.approx(2)


def test_a_stored_scan_comes_back(tmp_path: Path, a_scan: BenchScan) -> None:
    store_scan(tmp_path / "scan.npy", a_scan.volume)
    back = load_scan(tmp_path / "scan.npy")
    assert np.array_equal(back.data, a_scan.volume.data)
    assert back.channel_names == a_scan.volume.channel_names


@pytest.mark.slow
@pytest.mark.parametrize("work", ["chunk", "segment"])
def test_a_child_process_reports_its_time_and_its_peak(
    work: str, tmp_path: Path, a_contender: Contender, a_scan: BenchScan
) -> None:
    store_scan(tmp_path / "scan.npy", a_scan.volume)
    job = Job(
        work=work, scan=str(tmp_path / "scan.npy"), task="small", weights=str(a_contender.path), variant="c", chunk=512
    )
    found = run_child(job)
    assert found["seconds"] > 0
    assert 0 < found["peak_bytes"] < 2**31
    assert found["loaded_bytes"] > a_scan.volume.data.nbytes


def test_a_child_that_fails_says_why(tmp_path: Path, a_contender: Contender, a_scan: BenchScan) -> None:
    job = Job(work="chunk", scan=str(tmp_path / "nothing.npy"), task="small", weights=str(a_contender.path))
    with pytest.raises(EngineError, match=r"nothing\.npy"):
        run_child(job)


def test_weights_that_are_not_there_are_a_sentence() -> None:
    found = trained("brats", "pfseg")
    assert isinstance(found, str)
    assert "pfseg" in found


@pytest.mark.parametrize("wanted", [2_000_000, 8_700_000])
def test_monais_network_has_about_the_wanted_number_of_parameters(wanted: int) -> None:
    pytest.importorskip("monai")
    network = monai_u_net(4, wanted)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(wanted, rel=0.15)


def test_the_hash_of_a_scan_follows_its_voxels(a_scan: BenchScan) -> None:
    from napari_ossnet.bench.scans import bench_scan

    data = a_scan.volume.data.copy()
    data[0, 3, 3, 3] += 1
    assert bench_scan("small", replace(a_scan.volume, data=data), 0).sha256 != a_scan.sha256
    assert bench_scan("other", a_scan.volume, 0).sha256 == a_scan.sha256
