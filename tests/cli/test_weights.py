"""``ossnet weights``: the catalogue at the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_list_says_what_there_is_and_where(ossnet: Run, small_weights: Path) -> None:
    lines = {line.split()[0]: line for line in ossnet("weights", "list").out.splitlines() if line}
    assert "to download" in lines["oss-net-c-brats"]
    assert "0.884" in lines["oss-net-c-brats"]
    assert "imported" in lines["small"]


def test_list_is_filtered(ossnet: Run) -> None:
    out = ossnet("weights", "list", "--task", "lits", "--variant", "b").out
    assert "oss-net-b-lits" in out
    assert "brats" not in out


def test_info_gives_licence_citation_and_sum(ossnet: Run, small_weights: Path) -> None:
    published = ossnet("weights", "info", "oss-net-c-brats").out
    assert "BMVC 2021" in published
    assert "not stated" in published
    assert "not on this machine" in published
    own = ossnet("weights", "info", "small").out
    assert "sha256" in own
    assert str(small_weights) in own.replace("\n" + " " * 16, "")


def test_import_then_remove(ossnet: Run, small_weights: Path, tmp_path: Path) -> None:
    elsewhere = small_weights.rename(tmp_path / "elsewhere.safetensors")
    imported = ossnet("weights", "import", elsewhere, "--name", "mine")
    assert imported.code == 0, imported.err
    assert "mine (small, variant c)" in imported.out
    assert "mine" in ossnet("weights", "list").out
    assert ossnet("weights", "remove", "mine").code == 0
    assert "mine" not in ossnet("weights", "list").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("download", "nobody"), "no weights called 'nobody'"),
        (("import", "gone.pt"), "no weights file gone.pt"),
        (("remove", "nobody"), "no weights called 'nobody'"),
        (("remove", "oss-net-c-brats"), "nothing to remove"),
        (("info", "nobody"), "no weights called 'nobody'"),
    ],
)
def test_what_is_not_there_is_one_sentence(ossnet: Run, arguments: tuple[str, ...], words: str) -> None:
    outcome = ossnet("weights", *arguments)
    assert outcome.code == 2
    assert words in outcome.sentence


def test_a_download_that_fails_says_what_to_do_without_a_network(ossnet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_ossnet.engine.published_weights.BASE_URL", "http://127.0.0.1:1/")
    monkeypatch.setattr("napari_ossnet.engine.download.PAUSE_S", 0.0)
    outcome = ossnet("weights", "download", "oss-net-c-brats", "--progress", "none")
    assert outcome.code == 1
    assert "http://127.0.0.1:1/oss_net_c_bra_ts.pt" in outcome.sentence
    assert "ossnet weights import FILE" in outcome.sentence


def test_what_is_here_is_not_downloaded_again(ossnet: Run, small_weights: Path) -> None:
    outcome = ossnet("weights", "download", "small")
    assert outcome.code == 0
    assert f"small is at {small_weights}" in outcome.out
