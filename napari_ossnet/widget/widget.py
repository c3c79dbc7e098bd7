"""Owns the dock widget: one view, one controller, and the wires between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_ossnet.engine.session import SegmentationSession
from napari_ossnet.widget.controller import Controller
from napari_ossnet.widget.state import State
from napari_ossnet.widget.view import View
from napari_ossnet.widget.worker import Worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

#: Numbers follow edits of the labels after this long without another stroke.
EDIT_PAUSE_MS = 500
#: What is on the screen is refined after the view has stood still for this long.
VIEW_PAUSE_MS = 300


class OSSNetWidget(QWidget):
    """*Segment* in napari.

    Args:
        napari_viewer: The viewer that the widget is docked in; napari hands it over to a parameter of this name.
        session: The engine's door; None opens one of its own.
        worker: The thread that the engine works in; None starts one of its own.
    """

    def __init__(
        self, napari_viewer: Viewer, session: SegmentationSession | None = None, worker: Worker | None = None
    ) -> None:
        super().__init__()
        # napari fills the dock up with empty space under any widget that does not ask for the room itself.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.view = View()
        self._has_shown_result = False
        self._pending: list[Callable[[], Any]] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.controller = Controller(napari_viewer, later=self._later, session=session, worker=worker)
        self._edit_pause = QTimer(self, singleShot=True, interval=EDIT_PAUSE_MS)
        self._view_pause = QTimer(self, singleShot=True, interval=VIEW_PAUSE_MS)
        self._connect_inputs()
        self._connect_run()
        self._connect_result()
        self._connect_store()
        self._connect_end()

    def _connect_inputs(self) -> None:
        images, weights, inputs = self.view.images, self.view.weights, self.controller.inputs
        images.task_picked.connect(inputs.choose_task)
        images.image_picked.connect(inputs.choose_image)
        images.demo_wanted.connect(self.controller.open_demo)
        weights.variant_picked.connect(inputs.choose_variant)
        weights.weights_picked.connect(inputs.choose_weights)
        weights.download_wanted.connect(inputs.download)
        weights.import_wanted.connect(inputs.import_file)

    def _connect_run(self) -> None:
        run, controller = self.view.run, self.controller
        run.device_picked.connect(controller.devices.choose)
        run.devices_wanted.connect(controller.devices.refresh)
        run.memory_picked.connect(lambda text: controller.store.update_settings(memory=text))
        run.step_picked.connect(lambda step: controller.store.update_settings(step=step))
        run.mirrored_switched.connect(lambda is_on: controller.store.update_settings(mirrored=is_on))
        bar = self.view.bar
        bar.segment_wanted.connect(controller.runs.segment)
        bar.cancel_wanted.connect(controller.jobs.cancel)
        bar.cpu_wanted.connect(controller.segment_on_cpu)

    def _connect_result(self) -> None:
        result, region, batch, controller = self.view.result, self.view.region, self.view.batch, self.controller
        result.threshold_moved.connect(controller.runs.rethreshold)
        result.result_picked.connect(controller.runs.choose)
        result.mask_wanted.connect(controller.saving.mask)
        result.surface_wanted.connect(controller.saving.surface)
        result.report_wanted.connect(controller.saving.report)
        result.table_wanted.connect(controller.saving.table)
        result.folder_used.connect(lambda path: controller.store.update_settings(last_folder=path))
        result.image_wanted.connect(controller.add_super_resolved_image)
        result.restore_wanted.connect(controller.runs.restore)
        result.release_wanted.connect(controller.runs.release)
        region.factor_picked.connect(lambda factor: controller.store.update_settings(region_factor=factor))
        region.depth_picked.connect(lambda depth: controller.store.update_settings(region_depth=depth))
        region.refine_wanted.connect(controller.refine_region)
        region.view_switched.connect(controller.view_refinement.switch)
        batch.input_picked.connect(lambda path: controller.store.update_settings(batch_input=path))
        batch.output_picked.connect(lambda path: controller.store.update_settings(batch_output=path))
        batch.run_wanted.connect(controller.run_batch)

    def _connect_store(self) -> None:
        self._edit_pause.timeout.connect(self.controller.runs.measure)
        self.controller.runs.on_edited = self._edit_pause.start
        self._view_pause.timeout.connect(self.controller.view_refinement.refine)
        self.controller.view_refinement.on_moved = self._view_pause.start
        self.controller.store.changed.connect(self._show)
        self.view.show_folds(self.controller.store.settings.folded)
        self.view.folded.connect(lambda name, is_folded: self.controller.fold(name, is_folded=is_folded))
        self._show(self.controller.store.state)

    def _connect_end(self) -> None:
        # The dock's own close only hides the widget; it ends when its window is destroyed or napari quits.
        controller = self.controller
        # A wrapper, for Qt drops direct connections to methods of what it destroys.
        self.destroyed.connect(lambda _=None: controller.close())
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(controller.close)

    def _show(self, state: State) -> None:
        is_first_result = bool(state.measurements) and not self._has_shown_result
        self.view.show_state(state)
        if is_first_result:
            self._has_shown_result = True
            self.view.show_result()

    def _later(self, function: Callable[[], Any]) -> None:
        self._pending.append(function)
        # To a method of this widget, so that nothing is called once it is destroyed.
        QTimer.singleShot(0, self._run_next)

    def _run_next(self) -> None:
        if self._pending:
            self._pending.pop(0)()
