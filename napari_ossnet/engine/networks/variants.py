"""The network variants as data: what each is called and which module builds it, imported only when it is asked for.

A module in this table has two functions: ``config_for_task(variant, task) -> dict`` gives the settings that a model
card keeps, and ``network_from_config(config) -> nn.Module`` builds the network from them. Every network carries its
settings as ``network.config`` with ``to_dict()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from napari_ossnet.engine.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from napari_ossnet.engine.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A kind of network."""

    title: str
    #: Dotted name of the module that builds it.
    module: str


_NETWORKS = "napari_ossnet.engine.networks"

VARIANTS: dict[str, Variant] = {
    "o-net": Variant(title="O-Net", module=f"{_NETWORKS}.oss_net"),
    "a": Variant(title="OSS-Net A", module=f"{_NETWORKS}.oss_net"),
    "b": Variant(title="OSS-Net B", module=f"{_NETWORKS}.oss_net"),
    "c": Variant(title="OSS-Net C", module=f"{_NETWORKS}.oss_net"),
    "d": Variant(title="OSS-Net D", module=f"{_NETWORKS}.oss_net"),
    "x": Variant(title="OSS-Net X", module=f"{_NETWORKS}.oss_net_x"),
    "unet-3d": Variant(title="3D residual U-Net", module=f"{_NETWORKS}.residual_u_net"),
    "unet-2d": Variant(title="2D residual U-Net", module=f"{_NETWORKS}.residual_u_net"),
    "pfseg": Variant(title="PFSeg", module=f"{_NETWORKS}.pfseg"),
}


def build_network(variant: str, task: Task) -> nn.Module:
    """A network of the published size for a task, with fresh weights.

    Raises:
        InputError: There is no such variant.
    """
    module = _module(variant)
    return module.network_from_config(module.config_for_task(variant, task))


def build_network_from_config(variant: str, config: dict[str, Any]) -> nn.Module:
    """The network that a model card describes, with fresh weights.

    Raises:
        InputError: There is no such variant, or its settings are wrong.
    """
    return _module(variant).network_from_config(config)


def config_for_task(variant: str, task: Task) -> dict[str, Any]:
    """Settings of a variant for a task, as plain values.

    Raises:
        InputError: There is no such variant.
    """
    return _module(variant).config_for_task(variant, task)


def _module(variant: str) -> ModuleType:
    if variant not in VARIANTS:
        raise InputError(f"There is no network variant '{variant}'; choose one of {', '.join(VARIANTS)}.")
    return import_module(VARIANTS[variant].module)
