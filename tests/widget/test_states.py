"""What the form offers and says before, during and after a run; what goes wrong leaves it usable."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError, OutOfMemoryError
from napari_ossnet.widget.state import ImageChoice, Job

pytestmark = pytest.mark.qt


def test_without_a_scan_the_button_is_off_and_says_why(a_docked_widget):
    run = a_docked_widget.widget.view.bar
    assert not run.segment.isEnabled()
    assert "Open a scan first" in run.problems.text()
    assert "Open a scan first" in run.segment.toolTip()


def test_the_demo_scan_is_offered_as_long_as_there_is_no_image(a_docked_widget, sphere):
    assert a_docked_widget.widget.view.images.demo.isVisibleTo(a_docked_widget.widget)
    a_docked_widget.open(sphere.make_scan(sphere.affines["RAS"]))
    assert not a_docked_widget.widget.view.images.demo.isVisibleTo(a_docked_widget.widget)


def test_a_scan_that_fits_may_be_segmented(a_ready_widget):
    run = a_ready_widget.widget.view.bar
    assert run.segment.isEnabled()
    assert run.segment.text() == "Segment"
    assert run.problems.text() == ""


def test_a_line_tells_shape_spacing_and_fit(a_ready_widget):
    (note,) = a_ready_widget.widget.view.images.notes.values()
    assert note.text().startswith("40×44×36 · 1 mm · fits")


def test_a_missing_modality_is_named(a_docked_widget, sphere):
    a_docked_widget.choose_task("brats")
    for name in ("case_flair", "case_t1", "case_t2"):
        volume = sphere.make_scan(sphere.affines["RAS"], name=name)
        a_docked_widget.open(volume)
    assert a_docked_widget.state.image_problems == ("Choose an image for T1 with contrast.",)
    assert not a_docked_widget.widget.view.bar.segment.isEnabled()


def test_one_image_for_two_modalities_is_a_problem(a_docked_widget, sphere):
    a_docked_widget.choose_task("brats")
    for name in ("case_flair", "case_t1", "case_t1ce", "case_t2"):
        a_docked_widget.open(sphere.make_scan(sphere.affines["RAS"], name=name))
    assert a_docked_widget.state.image_problems == ()
    t1 = next(row.choice for row in a_docked_widget.state.rows if row.name == "t1")
    a_docked_widget.widget.controller.inputs.choose_image("t2", t1)
    assert "chosen for T1 and T2" in a_docked_widget.state.image_problems[0]


def test_a_scan_with_nan_is_refused_before_the_button_can_be_pressed(a_docked_widget, sphere):
    volume = sphere.make_scan(sphere.affines["RAS"])
    data = volume.data.copy()
    data[0, 3, 4, 5] = np.nan
    from napari.layers import Image

    # Not by our reader, whose contrast limits would already stumble over the NaN.
    a_docked_widget.viewer.add_layer(Image(np.nan_to_num(data[0]).T, units=("mm",) * 3, name="broken"))
    a_docked_widget.viewer.layers["broken"].data = data[0].T
    a_docked_widget.widget.controller.inputs.refresh_images()
    a_docked_widget.wait_idle()
    assert "NaN" in a_docked_widget.state.scan_problems[0]
    assert not a_docked_widget.widget.view.bar.segment.isEnabled()


def test_weights_that_are_not_here_are_a_problem_with_a_cure(a_docked_widget, sphere):
    a_docked_widget.open(sphere.make_scan(sphere.affines["RAS"]))
    a_docked_widget.choose_task("lits")
    a_docked_widget.widget.controller.inputs.choose_variant("c")
    view = a_docked_widget.widget.view
    assert "not on this machine yet: press Download" in view.bar.problems.text()
    assert view.weights.download.isVisibleTo(a_docked_widget.widget)
    assert not view.bar.segment.isEnabled()


def test_a_variant_without_weights_says_so(a_docked_widget):
    a_docked_widget.widget.controller.inputs.choose_variant("o-net")
    assert a_docked_widget.state.weights_problems[0].startswith("There are no weights for O-Net")


def test_a_layer_without_units_is_taken_for_millimetres_and_it_is_said(a_docked_widget, sphere):
    a_docked_widget.viewer.add_image(sphere.make_scan(sphere.affines["RAS"]).data[0], name="plain")
    a_docked_widget.wait_idle()
    (note,) = a_docked_widget.widget.view.images.notes.values()
    assert "no unit" in note.text()
    assert a_docked_widget.state.can_segment


def test_choosing_another_image_by_hand_stays_chosen(a_ready_widget, sphere):
    first = a_ready_widget.state.rows[0].choice
    a_ready_widget.open(sphere.make_scan(sphere.affines["LPS"], name="newer"))
    assert a_ready_widget.state.rows[0].choice.title == "newer", "the newest image is taken as long as nobody chose"
    a_ready_widget.widget.controller.inputs.choose_image("mr", first)
    a_ready_widget.open(sphere.make_scan(sphere.affines["LPS"], name="newest"))
    assert a_ready_widget.state.rows[0].choice == first


def test_during_a_run_the_choices_are_locked(a_ready_widget):
    a_ready_widget.session.gate.is_closed = True
    a_ready_widget.click_segment()
    a_ready_widget.wait_for_step(4)
    view = a_ready_widget.widget.view
    for widget in (view.images.task, view.weights.variant, view.run.device, view.result.save_mask, view.region.refine):
        assert not widget.isEnabled()
    a_ready_widget.click_segment()
    a_ready_widget.wait_idle()
    assert view.images.task.isEnabled()


def test_after_a_run_numbers_and_buttons_appear(a_ready_widget):
    a_ready_widget.run()
    view = a_ready_widget.widget.view
    assert view.result.table.rowCount() == 3
    assert float(view.result.table.item(0, 1).text()) == pytest.approx(4 / 3 * np.pi * 11.3**3 / 1000, rel=0.02)
    for widget in (view.result.save_mask, view.result.save_surface, view.result.save_report, view.region.refine):
        assert widget.isEnabled()
    assert not view.result.restore.isEnabled(), "nothing was there before"


def test_running_out_of_memory_leaves_a_usable_widget_that_offers_the_cpu(a_ready_widget, qtbot):
    a_ready_widget.session.failures = [OutOfMemoryError("The memory did not suffice.")]
    a_ready_widget.run()
    view = a_ready_widget.widget.view
    assert view.bar.error.text() == "The memory did not suffice."
    assert view.bar.segment.isEnabled()
    assert view.bar.use_cpu.isVisibleTo(a_ready_widget.widget)
    view.bar.use_cpu.click()
    a_ready_widget.wait_idle()
    assert a_ready_widget.session.requests[-1].device == "cpu"
    assert a_ready_widget.state.error == ""
    assert a_ready_widget.state.measurements


def test_a_runtime_error_from_torch_re_enables_the_button(a_ready_widget, qtbot):
    """A generator worker takes a bare RuntimeError for its own deletion and would never report its end."""
    a_ready_widget.session.failures = [RuntimeError("CUDA error: an illegal memory access was encountered")]
    with qtbot.capture_exceptions() as exceptions:
        a_ready_widget.run()
    assert not exceptions
    assert "illegal memory access" in a_ready_widget.state.error
    assert a_ready_widget.widget.view.bar.segment.isEnabled()


def test_a_mistake_of_ours_is_shown_and_logged(a_ready_widget, qtbot, caplog):
    a_ready_widget.session.failures = [KeyError("oops")]
    with qtbot.capture_exceptions() as exceptions:
        a_ready_widget.run()
    assert not exceptions
    assert "unexpected" in a_ready_widget.state.error
    assert "oops" in caplog.text
    assert a_ready_widget.widget.view.bar.segment.isEnabled()


def test_an_error_of_the_user_is_shown_in_its_own_words_and_goes_with_the_next_run(a_ready_widget):
    a_ready_widget.session.failures = [InputError("The scan is upside down; turn it.")]
    a_ready_widget.run()
    assert a_ready_widget.widget.view.bar.error.text() == "The scan is upside down; turn it."
    a_ready_widget.run()
    assert a_ready_widget.widget.view.bar.error.text() == ""


def test_pressing_twice_starts_one_run(a_ready_widget):
    a_ready_widget.session.gate.is_closed = True
    a_ready_widget.click_segment()
    a_ready_widget.widget.controller.runs.segment()
    a_ready_widget.wait_for_step(4)
    assert len(a_ready_widget.session.requests) == 1
    a_ready_widget.click_segment()
    a_ready_widget.wait_idle()


def test_without_torch_the_widget_opens_and_says_how_to_install_it(dock, sphere, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
    )
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    docked = dock()
    docked.open(sphere.make_scan(sphere.affines["RAS"]))
    assert "pip install torch" in docked.widget.view.bar.problems.text()
    assert not docked.widget.view.bar.segment.isEnabled()


def test_the_cpu_warning_stays_while_runs_go_to_the_cpu(a_ready_widget):
    devices = a_ready_widget.widget.controller.devices
    devices.choose("cpu")
    assert "CPU" in a_ready_widget.widget.view.bar.cpu_warning.text()
    a_ready_widget.run()
    assert "CPU" in a_ready_widget.widget.view.bar.cpu_warning.text()
    devices.choose("cuda:0")
    assert a_ready_widget.widget.view.bar.cpu_warning.text() == ""


def test_devices_are_listed_when_the_list_is_opened(a_ready_widget):
    a_ready_widget.widget.view.run.device.before_popup()
    assert a_ready_widget.state.job is Job.DEVICES
    a_ready_widget.wait_idle()
    titles = [option.title for option in a_ready_widget.state.devices]
    assert titles[0].startswith("Automatic: ")
    assert any(title.startswith("CPU") and title.endswith("free") for title in titles)


def test_the_research_notice_is_always_in_sight(a_docked_widget):
    notice = a_docked_widget.widget.view.bar.notice
    assert "research use only" in notice.text().lower()
    assert notice.isVisibleTo(a_docked_widget.widget)


def test_the_form_fits_into_a_dock_of_340_pixels(a_ready_widget):
    a_ready_widget.run()
    view = a_ready_widget.widget.view
    view.show_folds(())
    assert view.minimumSizeHint().width() <= 340
    for section in view.sections.values():
        assert section.minimumSizeHint().width() <= 340


def test_settings_are_remembered(dock, sphere):
    first = dock()
    store = first.widget.controller.store
    store.update_settings(memory="2GiB", step=2, threshold=0.3, region_factor=8, mirrored=True)
    first.widget.controller.close()
    second = dock()
    assert second.state.settings == replace(store.settings, task="hippocampus")
    assert second.widget.view.run.memory.value == "2GiB"
    assert second.widget.view.run.mirrored.isChecked()


def test_the_mirror_image_is_asked_too_where_that_is_wanted(a_ready_widget):
    a_ready_widget.run()
    a_ready_widget.widget.view.run.mirrored.click()
    a_ready_widget.run()
    assert [request.mirrored for request in a_ready_widget.session.requests] == [False, True]
    assert a_ready_widget.state.has_result


def test_an_image_choice_of_a_layer_that_is_gone_is_dropped(a_ready_widget):
    a_ready_widget.viewer.layers.clear()
    a_ready_widget.wait_idle()
    assert a_ready_widget.state.rows[0].choice is None
    assert a_ready_widget.state.images == ()
    assert isinstance(a_ready_widget.state.problems[0], str)
    assert ImageChoice(layer_id="x", channel=0, title="x") not in a_ready_widget.state.images
