"""The image that PFSeg restores beside its mask: from the session, through the worker, at the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet import cli
from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.exchange import Exchange
from napari_ossnet.engine.fields.pfseg import IMAGE_NAME
from napari_ossnet.engine.session import SegmentationSession, SegmentRequest
from napari_ossnet.engine.volume import Volume
from napari_ossnet.engine.worker import Worker

#: LAS, away from the origin.
AFFINE = np.array([[-1.0, 0, 0, 40], [0, 1, 0, -30], [0, 0, 1, 15], [0, 0, 0, 1]])


@pytest.fixture
def a_scan() -> Volume:
    """A bright ball off the middle, in noise."""
    shape = (40, 52, 38)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    ball = np.linalg.norm(places - [14, 30, 20], axis=-1) < 8
    data = np.random.default_rng(0).normal(100, 5, shape) + 80 * ball
    return Volume(data=data[None].astype(np.float32), affine=AFFINE, channel_names=("mr",))


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_session_gives_the_image_where_the_scan_lies(a_scan: Volume, pfseg_weights: Path, mirrored: bool) -> None:
    session = SegmentationSession()
    assert not session.has_super_resolved_image
    request = SegmentRequest(
        volume=a_scan, task="hippocampus", weights=pfseg_weights, device="cpu", step=4, mirrored=mirrored
    )
    finish(session.segment(request))
    assert session.has_super_resolved_image
    image = finish(session.super_resolved_image())
    assert image.channel_names == (IMAGE_NAME,)
    # The network sees 48 x 64 x 48 mm around the scan's middle.
    middle = image.affine @ [*((np.array(image.shape) - 1) / 2), 1]
    expected = AFFINE @ [*((np.array(a_scan.shape) - 1) / 2), 1]
    assert np.allclose(middle, expected, atol=1.0)
    assert np.allclose(np.array(image.spacing_mm) * image.shape, (48, 64, 48), atol=1.0)
    session.release()
    assert not session.has_super_resolved_image


def test_other_networks_restore_no_image(a_session: SegmentationSession, toy, a_volume: Volume) -> None:
    with pytest.raises(InputError, match="Only PFSeg"):
        finish(a_session.super_resolved_image())
    finish(a_session.segment(toy.request(a_volume)))
    assert not a_session.has_super_resolved_image
    with pytest.raises(InputError, match="Only PFSeg"):
        finish(a_session.super_resolved_image())


def test_the_worker_hands_it_over(
    a_scan: Volume, pfseg_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ossnet.engine.worker.os._exit", lambda code: None)
    exchange, session = Exchange(tmp_path), SegmentationSession()
    image = {"data": exchange.put("image", a_scan.data), "affine": AFFINE.tolist(), "channels": ["mr"]}
    segment = {
        "command": "segment",
        "id": 1,
        "task": "hippocampus",
        "images": {"mr": image},
        "step": 4,
        "device": "cpu",
        "weights": str(pfseg_weights),
        "is_live": False,
    }
    said = []
    # One at a time: ``quit`` would end the second before it begins.
    for command in (segment, {"command": "super_resolved", "id": 2}):
        output = io.StringIO()
        worker = Worker(exchange, output, session)
        worker._answer(command)
        said += [json.loads(line) for line in output.getvalue().splitlines()]
    (result,) = [words for words in said if words["event"] == "result"]
    assert result["has_super_resolved_image"] is True
    (done,) = [words for words in said if words["event"] == "done"]
    assert done["volume"]["channels"] == [IMAGE_NAME]
    handed = exchange.get(done["volume"]["data"])
    expected = finish(session.super_resolved_image())
    assert np.array_equal(handed, expected.data)
    assert np.allclose(done["volume"]["affine"], expected.affine)


def test_the_command_line_writes_it(
    a_scan: Volume, pfseg_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, mask, image = (tmp_path / name for name in ("scan.nii.gz", "mask.nii.gz", "restored.nii.gz"))
    nib.save(nib.Nifti1Image(a_scan.data[0], AFFINE), scan)
    words = [
        str(scan),
        "--task",
        "hippocampus",
        "-o",
        str(mask),
        "--step",
        "4",
        "--device",
        "cpu",
        "--progress",
        "none",
    ]
    assert cli.main(["segment", *words, "--weights", str(pfseg_weights), "--super-resolved", str(image)]) == 0
    assert "not a scan" in capsys.readouterr().out
    assert nib.load(image).shape == (64, 64, 64)
    image.unlink()
    # Said before anything is done.
    mask.unlink()
    assert cli.main(["segment", *words, "--super-resolved", str(image)]) == 2
    assert "Only PFSeg restores an image" in capsys.readouterr().err
    assert not mask.exists()
    assert not image.exists()
