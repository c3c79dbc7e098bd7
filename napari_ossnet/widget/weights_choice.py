"""Owns what of the catalogue is offered for a task, what is said about it, and what is chosen when nobody has."""

from __future__ import annotations

from napari_ossnet.engine.catalogue import CatalogueEntry, list_entries, local_path, preferred_entries
from napari_ossnet.engine.model_card import read_card
from napari_ossnet.engine.task_definition import Task
from napari_ossnet.engine.tasks import TASKS
from napari_ossnet.widget.progress_text import size
from napari_ossnet.widget.state import VariantOption, WeightsOption

#: In the order in which they are offered; what each is, for the tooltip.
VARIANTS = {
    "x": ("OSS-Net X", "This program's own network: features of the whole scan, sampled at each location. Fastest."),
    "a": ("OSS-Net A", "As published: local patches."),
    "b": ("OSS-Net B", "As published: local and mid-range patches."),
    "c": ("OSS-Net C", "As published: local patches, encoder skips, auxiliary segmentation. Highest published Dice."),
    "d": ("OSS-Net D", "As published: local and mid-range patches, encoder skips, auxiliary segmentation."),
    "o-net": ("O-Net", "The paper's baseline without patches."),
    "unet-3d": ("3D residual U-Net", "A dense network, for comparison."),
    "unet-2d": ("2D residual U-Net", "A dense network slice by slice, for comparison."),
    "pfseg": ("PFSeg", "Patch-free segmentation of one modality, for comparison."),
}


def known_tasks() -> dict[str, Task]:
    """The program's tasks, and those that weights on this machine bring along."""
    tasks = dict(TASKS)
    for entry in list_entries():
        path = local_path(entry)
        if entry.task not in tasks and path is not None:
            tasks[entry.task] = read_card(path).task
    return tasks


def variant_options(task: Task) -> tuple[VariantOption, ...]:
    """Every variant; of those without weights for the task it is said."""
    with_weights = {entry.variant for entry in list_entries(task.name)}
    names = [*VARIANTS, *sorted(with_weights - set(VARIANTS))]
    return tuple(
        VariantOption(
            name=name,
            title=_title(name) if name in with_weights else f"{_title(name)} (no weights yet)",
            tooltip=VARIANTS.get(name, ("", ""))[1],
        )
        for name in names
    )


def weights_options(task: Task) -> tuple[WeightsOption, ...]:
    """What the catalogue has for a task, in its own order: the first one is what is used where nothing is chosen."""
    return tuple(_option(entry) for entry in preferred_entries(task.name))


def choose(options: tuple[WeightsOption, ...], wanted: str | None, variant: str | None = None) -> WeightsOption | None:
    """The weights to use: those wanted, else the best of the variant, else none.

    Args:
        options: From ``weights_options``, the best first.
        wanted: A name that the user has chosen.
        variant: Only weights of this variant; None takes any.
    """
    for option in options:
        if option.name == wanted and variant in (None, option.variant):
            return option
    return next((option for option in options if variant in (None, option.variant)), None)


def weights_problems(task: Task, chosen: WeightsOption | None, variant: str) -> tuple[str, ...]:
    """Why there is nothing to segment with, in sentences."""
    if chosen is None:
        name = f"{_title(variant)} on " if variant else ""
        return (f"There are no weights for {name}'{task.title}': choose another variant, or import a file.",)
    if not chosen.is_here:
        return (f"The weights '{chosen.title}' are not on this machine yet: press Download, or import the file.",)
    return ()


def _option(entry: CatalogueEntry) -> WeightsOption:
    is_here = local_path(entry) is not None
    return WeightsOption(
        name=entry.name,
        title=f"{entry.title}{'' if is_here else ' (not here yet)'}",
        variant=entry.variant,
        details=_details(entry, is_here=is_here),
        tooltip=f"Trained on: {entry.training_data}" if entry.training_data else "",
        is_here=is_here,
        can_download=entry.url is not None and not is_here,
    )


def _details(entry: CatalogueEntry, *, is_here: bool) -> tuple[str, ...]:
    where = "comes with the program" if entry.is_bundled else "on this machine" if is_here else "to be downloaded"
    amount = size(entry.size_bytes) if entry.size_bytes else "size unknown"
    dice = f"Dice {entry.published_dice:.3f}" if entry.published_dice else "no Dice reported"
    return f"{amount}, {where}", f"{dice}, licence {entry.licence or 'not stated'}"


def _title(variant: str) -> str:
    return VARIANTS[variant][0] if variant in VARIANTS else variant
