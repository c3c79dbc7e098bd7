"""The catalogue: what it lists, what it picks, and what it lets in."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from napari_ossnet.engine import catalogue, download, published_weights
from napari_ossnet.engine.catalogue import (
    find_weights,
    get_entry,
    import_weights,
    list_entries,
    local_path,
    ossnet_home,
    remove,
    weights_folder,
)
from napari_ossnet.engine.checkpoints import load_checkpoint, save_weights
from napari_ossnet.engine.errors import WeightsError
from napari_ossnet.engine.model_card import ModelCard, read_card
from napari_ossnet.engine.networks.variants import build_network, build_network_from_config, config_for_task
from napari_ossnet.engine.tasks import TASKS


@pytest.fixture(autouse=True)
def no_bundled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogue as if the program came without weights, so that what it comes with doesn't matter here."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(catalogue, "BUNDLED_FOLDER", folder)
    return folder


@pytest.fixture(scope="session")
def a_published_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of OSS-Net A for BraTS as published: a state dict in a .pt file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "oss_net_a_bra_ts.pt"
    torch.save(build_network("a", TASKS["brats"]).state_dict(), path)
    return path


def tiny_weights(path: Path, **changes: Any) -> Path:
    """A .safetensors file with a card for the hippocampus and a network of few parameters."""
    task = TASKS["hippocampus"]
    config = config_for_task("c", task) | {"encoder_channels": [2, 2], "decoder_features": 4, "decoder_blocks": 1}
    torch.manual_seed(changes.pop("seed", 0))
    network: nn.Module = build_network_from_config("c", config)
    card = ModelCard(name=path.stem, title="Tiny", task=task, variant="c", network_config=config)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, network, replace(card, **changes))
    return path


def finish(steps: Generator[Any, None, Path]) -> Path:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def a_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are what the published addresses lead to."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(Silent, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(published_weights, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


class TestListing:
    def test_the_eight_published_files_are_there_with_address_dice_and_citation(self) -> None:
        entries = [entry for entry in list_entries() if entry.is_published]
        assert {(entry.variant, entry.task) for entry in entries} == {(v, t) for v in "abcd" for t in ("brats", "lits")}
        entry = get_entry("oss-net-c-brats")
        assert entry.url == "https://tudatalib.ulb.tu-darmstadt.de/bitstream/handle/tudatalib/2991/oss_net_c_bra_ts.pt"
        assert entry.published_dice == 0.8842
        assert "BMVC 2021" in entry.citation
        assert entry.licence.startswith("not stated")
        assert local_path(entry) is None

    def test_it_is_filtered_by_task_and_variant(self) -> None:
        assert [entry.name for entry in list_entries("lits", "b")] == ["oss-net-b-lits"]

    def test_bundled_weights_come_first_and_say_so(self, no_bundled_weights: Path) -> None:
        path = tiny_weights(no_bundled_weights / "hippocampus-c.safetensors", dice={"anterior": 0.8, "posterior": 0.9})
        entry = list_entries()[0]
        assert (entry.name, entry.is_bundled, entry.task) == ("hippocampus-c", True, "hippocampus")
        assert entry.published_dice == pytest.approx(0.85)
        assert local_path(entry) == path

    def test_a_damaged_file_hides_no_other(self, caplog: pytest.LogCaptureFixture) -> None:
        good = tiny_weights(weights_folder() / "good.safetensors")
        (weights_folder() / "bad.safetensors").write_bytes(good.read_bytes()[:1000])
        with caplog.at_level(logging.WARNING):
            names = [entry.name for entry in list_entries("hippocampus")]
        assert names == ["good"]
        assert "bad.safetensors" in caplog.text

    def test_the_home_is_the_environments_or_the_platforms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSSNET_HOME", "~/somewhere")
        assert ossnet_home() == Path.home() / "somewhere"
        monkeypatch.delenv("OSSNET_HOME")
        assert ossnet_home().name == "ossnet"


class TestFinding:
    def test_without_any_weights_the_sentence_says_how_to_get_some(self) -> None:
        with pytest.raises(WeightsError, match=r"ossnet weights download oss-net-c-brats.*https://.*weights import"):
            find_weights("brats")

    def test_the_best_dice_on_this_machine_wins(self) -> None:
        tiny_weights(weights_folder() / "fair.safetensors", dice={"whole": 0.7})
        best = tiny_weights(weights_folder() / "good.safetensors", dice={"whole": 0.9})
        tiny_weights(weights_folder() / "unknown.safetensors")
        assert find_weights("hippocampus") == best

    def test_weights_of_the_users_own_come_before_bundled_ones(self, no_bundled_weights: Path) -> None:
        tiny_weights(no_bundled_weights / "ours.safetensors", dice={"whole": 0.9})
        own = tiny_weights(weights_folder() / "own.safetensors", dice={"whole": 0.8})
        assert find_weights("hippocampus") == own

    def test_a_file_is_taken_as_it_is(self, tmp_path: Path) -> None:
        path = tiny_weights(tmp_path / "mine.safetensors")
        assert find_weights("brats", None, path) == path

    def test_a_name_is_looked_up(self) -> None:
        path = tiny_weights(weights_folder() / "mine.safetensors")
        assert find_weights("hippocampus", "c", "mine") == path
        assert find_weights(None, None, "mine") == path

    @pytest.mark.parametrize(
        ("task", "variant", "weights", "words"),
        [
            ("brats", None, "nobody", "'nobody'.*catalogue has .*oss-net-c-brats"),
            ("brats", None, "gone.pt", "no weights file gone.pt"),
            ("brats", None, ".", "is a folder"),
            ("brats", None, "oss-net-c-lits", "made for the task lits, not for brats"),
            ("lits", "a", "oss-net-c-lits", "are of variant c, not a"),
            ("lits", None, "oss-net-c-lits", "not on this machine yet.*download oss-net-c-lits"),
            ("lungs", None, None, "no weights for lungs; the catalogue has"),
            ("hippocampus", "a", None, "no weights variant a for hippocampus"),
        ],
    )
    def test_what_is_not_there_is_said(self, task: str, variant: str | None, weights: str | None, words: str) -> None:
        with pytest.raises(WeightsError, match=words):
            find_weights(task, variant, weights)


class TestImporting:
    def test_a_published_file_becomes_safetensors_with_a_card(self, a_published_file: Path) -> None:
        entry = import_weights(a_published_file)
        path = find_weights("brats", "a")
        assert entry.name == path.stem == "oss-net-a-brats"
        card = read_card(path)
        assert (card.variant, card.task.name, card.dice) == ("a", "brats", {"whole": 0.8592})
        assert entry.sha256 is not None
        assert entry.sha256 in card.notes
        imported = load_checkpoint(path).network.state_dict()
        for name, tensor in torch.load(a_published_file, weights_only=True).items():
            assert torch.equal(imported[name], tensor)

    def test_the_sum_of_a_published_file_is_remembered(self, a_published_file: Path, tmp_path: Path) -> None:
        import_weights(a_published_file)
        other = tmp_path / a_published_file.name
        torch.save(build_network("a", TASKS["brats"]).state_dict(), other)
        with pytest.raises(WeightsError, match=r"has the SHA-256 .*, expected .*checksums.json"):
            import_weights(other)

    def test_a_published_name_with_another_network_is_refused(self, a_published_file: Path, tmp_path: Path) -> None:
        wrong = tmp_path / "oss_net_c_bra_ts.pt"
        wrong.write_bytes(a_published_file.read_bytes())
        with pytest.raises(WeightsError, match=r"holds variant a for brats, expected variant c"):
            import_weights(wrong)
        assert list_entries("brats", "c") == [get_entry("oss-net-c-brats")]
        assert local_path(get_entry("oss-net-c-brats")) is None

    def test_a_published_file_under_another_name_is_recognised(self, a_published_file: Path, tmp_path: Path) -> None:
        renamed = tmp_path / "From Colleague.pt"
        renamed.write_bytes(a_published_file.read_bytes())
        entry = import_weights(renamed)
        assert (entry.name, entry.variant, entry.task) == ("from-colleague", "a", "brats")
        assert find_weights("brats", None, "from-colleague").is_file()

    def test_our_own_file_keeps_its_bytes(self, tmp_path: Path) -> None:
        path = tiny_weights(tmp_path / "mine.safetensors")
        entry = import_weights(path)
        stored = local_path(entry)
        assert stored is not None
        assert stored.read_bytes() == path.read_bytes()
        assert import_weights(path) == entry

    def test_another_name_can_be_given(self, tmp_path: Path) -> None:
        entry = import_weights(tiny_weights(tmp_path / "mine.safetensors"), "My Net 2")
        stored = local_path(entry)
        assert entry.name == "my-net-2"
        assert stored is not None
        assert read_card(stored).name == "my-net-2"

    def test_two_files_of_one_name_are_not_mixed_up(self, tmp_path: Path) -> None:
        first = import_weights(tiny_weights(tmp_path / "a" / "mine.safetensors"))
        stored = local_path(first)
        assert stored is not None
        before = stored.read_bytes()
        with pytest.raises(WeightsError, match=r"other weights called mine already.*--name"):
            import_weights(tiny_weights(tmp_path / "b" / "mine.safetensors", seed=1))
        assert stored.read_bytes() == before

    def test_a_name_of_the_catalogue_can_not_be_taken(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"belongs to weights in the catalogue.*--name"):
            import_weights(tiny_weights(tmp_path / "mine.safetensors"), "oss-net-c-brats")

    def test_a_truncated_file_is_refused_and_leaves_nothing(self, a_published_file: Path, tmp_path: Path) -> None:
        cut = tmp_path / a_published_file.name
        cut.write_bytes(a_published_file.read_bytes()[:1_000_000])
        with pytest.raises(WeightsError, match="damaged"):
            import_weights(cut)
        assert not weights_folder().exists()

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(WeightsError, match=r"no weights file nowhere\.pt"):
            import_weights("nowhere.pt")


class TestDownloading:
    def test_weights_come_are_checked_and_stay(self, a_publisher: Path, a_published_file: Path) -> None:
        (a_publisher / a_published_file.name).write_bytes(a_published_file.read_bytes())
        path = finish(catalogue.download(get_entry("oss-net-a-brats")))
        assert path == find_weights("brats")
        assert load_checkpoint(path).card.variant == "a"
        assert list((ossnet_home() / "downloads").iterdir()) == []
        sums = json.loads((weights_folder() / "checksums.json").read_text(encoding="utf-8"))
        assert sums == {"oss-net-a-brats": get_entry("oss-net-a-brats").sha256}

    def test_a_changed_file_is_refused_the_second_time(self, a_publisher: Path, a_published_file: Path) -> None:
        served = a_publisher / a_published_file.name
        served.write_bytes(a_published_file.read_bytes())
        finish(catalogue.download(get_entry("oss-net-a-brats")))
        remove("oss-net-a-brats")
        torch.save(build_network("a", TASKS["brats"]).state_dict(), served)
        with pytest.raises(WeightsError, match="SHA-256"):
            finish(catalogue.download(get_entry("oss-net-a-brats")))
        assert local_path(get_entry("oss-net-a-brats")) is None

    @pytest.mark.parametrize("content", [b"<html>Log in to this network</html>", b"PK\x03\x04 cut", b""])
    def test_what_is_no_weights_file_is_refused_and_not_kept(self, a_publisher: Path, content: bytes) -> None:
        (a_publisher / "oss_net_b_lits.pt").write_bytes(content)
        with pytest.raises(WeightsError):
            finish(catalogue.download(get_entry("oss-net-b-lits")))
        assert list((ossnet_home() / "downloads").iterdir()) == []
        assert local_path(get_entry("oss-net-b-lits")) is None

    def test_a_missing_file_says_what_to_do(self, a_publisher: Path) -> None:
        with pytest.raises(WeightsError, match=r"404.*ossnet weights import"):
            finish(catalogue.download(get_entry("oss-net-d-lits")))

    def test_local_weights_are_not_downloaded(self) -> None:
        tiny_weights(weights_folder() / "mine.safetensors")
        with pytest.raises(WeightsError, match="not to be downloaded"):
            finish(catalogue.download(get_entry("mine")))


class TestRemoving:
    def test_what_was_imported_goes(self, tmp_path: Path) -> None:
        entry = import_weights(tiny_weights(tmp_path / "mine.safetensors"))
        path = local_path(entry)
        assert remove("mine") == path
        assert local_path(entry) is None

    def test_what_is_bundled_stays(self, no_bundled_weights: Path) -> None:
        tiny_weights(no_bundled_weights / "ours.safetensors")
        with pytest.raises(WeightsError, match="come with the program"):
            remove("ours")

    def test_what_is_not_here_can_not_go(self) -> None:
        with pytest.raises(WeightsError, match="nothing to remove"):
            remove("oss-net-a-lits")
