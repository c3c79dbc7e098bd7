"""Weights are downloaded and imported from the widget, with progress, cancel and errors in words."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.qt


def test_weights_are_imported_from_a_file_and_chosen(a_docked_widget, tmp_path):
    from napari_ossnet.engine.checkpoints import save_weights
    from napari_ossnet.engine.model_card import ModelCard
    from napari_ossnet.engine.networks.variants import build_network
    from napari_ossnet.engine.tasks import get_task

    task = get_task("hippocampus")
    network = build_network("x", task)
    card = ModelCard(name="mine", title="Mine", task=task, variant="x", network_config=network.config.to_dict())
    save_weights(tmp_path / "mine.safetensors", network, card)
    a_docked_widget.choose_task("brats")
    a_docked_widget.widget.view.weights.import_wanted.emit(str(tmp_path / "mine.safetensors"))
    a_docked_widget.wait_idle()
    assert a_docked_widget.state.error == ""
    assert a_docked_widget.state.settings.task == "hippocampus"
    assert a_docked_widget.state.chosen_weights.name == "mine"


def test_a_file_that_is_no_weights_is_refused_in_words(a_docked_widget, tmp_path):
    (tmp_path / "notes.safetensors").write_text("hello", encoding="utf-8")
    a_docked_widget.widget.view.weights.import_wanted.emit(str(tmp_path / "notes.safetensors"))
    a_docked_widget.wait_idle()
    assert "notes.safetensors" in a_docked_widget.state.error


def test_a_download_that_fails_says_so_and_can_be_tried_again(a_docked_widget, monkeypatch):
    from napari_ossnet.engine.errors import WeightsError
    from napari_ossnet.engine.events import Progress
    from napari_ossnet.widget import inputs

    def broken(entry):
        yield Progress(stage="download", points_done=10, points_total=100)
        raise WeightsError(f"Can't download {entry.url}.")

    monkeypatch.setattr(inputs, "download", broken)
    a_docked_widget.choose_task("lits")
    a_docked_widget.widget.controller.inputs.choose_variant("a")
    a_docked_widget.widget.view.weights.download.click()
    a_docked_widget.wait_idle()
    assert a_docked_widget.state.error.startswith("Can't download https://")
    assert a_docked_widget.widget.view.weights.download.isEnabled()


def test_a_download_shows_progress_and_can_be_cancelled(a_docked_widget, monkeypatch):
    from napari_ossnet.engine.events import Progress
    from napari_ossnet.widget import inputs

    def endless(entry):
        while True:
            yield Progress(stage="download", points_done=2_000_000, points_total=4_000_000, remaining_s=5)

    monkeypatch.setattr(inputs, "download", endless)
    a_docked_widget.choose_task("lits")
    a_docked_widget.widget.controller.inputs.choose_variant("a")
    a_docked_widget.widget.view.weights.download.click()
    bar = a_docked_widget.widget.view.bar
    a_docked_widget.qtbot.waitUntil(lambda: "2 MB of 4 MB" in bar.progress.text(), timeout=20_000)
    bar.segment.click()
    a_docked_widget.wait_idle()
    assert "Cancelled" in a_docked_widget.state.status


def test_details_tell_size_licence_and_dice(a_docked_widget):
    text = a_docked_widget.widget.view.weights.details.text()
    assert "on this machine" in text or "comes with the program" in text
    assert "Dice" in text
    assert "licence" in text


def test_the_form_and_the_command_line_choose_the_same_weights(some_weights):
    from napari_ossnet.engine.catalogue import find_weights
    from napari_ossnet.engine.tasks import get_task
    from napari_ossnet.widget.weights_choice import choose, weights_options

    chosen = choose(weights_options(get_task("hippocampus")), wanted=None)
    # One's own before a bundled one, though that has the higher Dice.
    assert chosen.name == find_weights("hippocampus").stem == "tiny-hippocampus"
