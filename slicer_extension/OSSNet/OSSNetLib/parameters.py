"""Owns the parameters that are saved with the scene.

Those that a widget of the form is bound to have its ``SlicerParameterName``; the others are chosen from lists that
depend on what is on this machine, so the sections of the form keep them up to date.
"""

from __future__ import annotations

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class OSSNetParameterNode:
    """What the user chose.

    Attributes:
        task: Name of the engine's task.
        variant: Kind of network; empty takes any.
        weights: Name in the catalogue; empty takes the task's best.
        device: As torch spells it, or ``auto``.
        image1: The scan's modalities, in the task's order; a task of one modality uses the first.
        image2: Second modality.
        image3: Third modality.
        image4: Fourth modality.
        segmentation: Where the result goes; None makes a new node.
        region: The box to refine beyond the scan's resolution.
        threshold: Probability at which a voxel counts as inside.
        memory_gib: Budget above the scan; 0 takes half of what is free.
        is_live: Whether snapshots are shown while the run lasts.
    """

    task: str = "brats"
    variant: str = ""
    weights: str = ""
    device: str = "auto"
    image1: slicer.vtkMRMLScalarVolumeNode
    image2: slicer.vtkMRMLScalarVolumeNode
    image3: slicer.vtkMRMLScalarVolumeNode
    image4: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    region: slicer.vtkMRMLMarkupsROINode
    threshold: Annotated[float, WithinRange(0.05, 0.95)] = 0.5
    memory_gib: Annotated[float, WithinRange(0, 1024)] = 0.0
    is_live: bool = True
