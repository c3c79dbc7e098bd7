"""Owns which device runs go to, and the warning that stays for as long as that is the CPU."""

from __future__ import annotations

from napari_ossnet.engine.device import DeviceInfo, format_bytes
from napari_ossnet.widget.job_runner import JobRunner
from napari_ossnet.widget.jobs import device_steps
from napari_ossnet.widget.state import DeviceOption, Job
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.torch_loading import is_gpu_likely

CPU_WARNING = "Runs go to the CPU: the results are the same, but a GPU is many times faster."
AUTOMATIC = DeviceOption(name="auto", title="Automatic")


class Devices:
    """The list of devices, filled when the user asks for it: only torch knows it, and torch is imported late."""

    def __init__(self, store: Store, jobs: JobRunner) -> None:
        self._store = store
        self._jobs = jobs
        #: What automatic means here; a guess from the machine until torch has been asked.
        self._automatic = "cuda" if is_gpu_likely() else "cpu"
        chosen = store.settings.device
        if chosen != AUTOMATIC.name:
            store.update(devices=(AUTOMATIC, DeviceOption(name=chosen, title=chosen)))
        self._warn()

    def choose(self, name: str) -> None:
        """Sends the next runs to this device."""
        self._store.update_settings(device=name)
        self._warn()

    def refresh(self) -> None:
        """Lists the devices anew, with their free memory."""
        self._jobs.start(Job.DEVICES, device_steps, on_result=self._on_listed)

    def note_used(self, name: str) -> None:
        """Takes note of what the last run was on."""
        if self._store.settings.device == AUTOMATIC.name:
            self._automatic = name
        self._warn()

    def _on_listed(self, devices: list[DeviceInfo]) -> None:
        self._automatic = devices[0].name
        automatic = DeviceOption(name=AUTOMATIC.name, title=f"Automatic: {devices[0].title}")
        options = [automatic, *(DeviceOption(name=device.name, title=_title(device)) for device in devices)]
        if self._store.settings.device not in {option.name for option in options}:
            self._store.update_settings(device=AUTOMATIC.name)
        self._store.update(devices=tuple(options))
        self._warn()

    def _warn(self) -> None:
        chosen = self._store.settings.device
        used = self._automatic if chosen == AUTOMATIC.name else chosen
        self._store.update(cpu_warning=CPU_WARNING if used == "cpu" else "")


def _title(device: DeviceInfo) -> str:
    if device.free_bytes is None:
        return device.title
    return f"{device.title}, {format_bytes(device.free_bytes)} free"
