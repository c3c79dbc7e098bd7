"""The training step as Lightning runs it: augment, draw, pass, lose; and the running average of weights."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from napari_ossnet.engine.errors import EngineError, OutOfMemoryError
from napari_ossnet.engine.networks.oss_net_x import OSSNetX
from napari_ossnet.engine.networks.pfseg import PFSeg
from napari_ossnet.engine.tasks import Task
from ossnet_training.answering import classes_at_locations, dense_classes, field_of, grid_lattice
from ossnet_training.augmentation import Augmented, augment
from ossnet_training.config import Recipe
from ossnet_training.data import Sample, Window
from ossnet_training.forward import Answer, training_logits
from ossnet_training.losses import auxiliary_loss, classes_at, dice_loss, occupancy_loss, padded_to_cells
from ossnet_training.optimisers import build_optimiser, restate_rates
from ossnet_training.overlap import class_columns, dice_of, overlap_counts
from ossnet_training.pfseg_losses import guidance_start, pfseg_losses
from ossnet_training.sampling import (
    Draw,
    case_generator,
    draw_locations,
    draw_planes,
    uniform_locations,
    unsure_locations,
)

logger = logging.getLogger(__name__)

#: Candidates that are asked for each location that adaptive sampling keeps.
_CANDIDATES = 4
#: Fewer locations a volume than this teach nothing; memory that doesn't suffice for them is an error.
_FEWEST_LOCATIONS = 64


class TrainingError(EngineError):
    """Training that can't go on; what was learnt before is kept."""


class TrainingModule(lightning.LightningModule):
    """A network under training.

    Args:
        recipe: All settings.
        network: With fresh or loaded weights.
        task: What it learns.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = network
        self.task = task
        self._scores: list[Tensor] = []
        self._names = ""
        #: The step at which the weights were validated last.
        self.judged_step = -1
        self.average = copy.deepcopy(network).requires_grad_(False) if recipe.optimiser.average_decay else None
        #: Locations a volume and step; halved where the device's memory doesn't suffice.
        self.locations = recipe.sampling.locations
        self.register_buffer("averaged_steps", torch.zeros((), dtype=torch.int64))

    @property
    def judged(self) -> nn.Module:
        """The weights that are validated and exported: the running average, where there is one."""
        return self.network if self.average is None else self.average

    def configure_optimizers(self) -> Optimizer:
        """The recipe's optimiser."""
        return build_optimiser(self.network, self.recipe.optimiser)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave samples where they are: half precision travels when it is wanted, case by case."""
        return batch

    def training_step(self, samples: Sequence[Sample], batch_index: int) -> Tensor:
        """The loss of one step, with fewer locations from here on where the device's memory doesn't suffice."""
        self._names = ", ".join(sample.name for sample in samples)
        loss = None
        while loss is None:
            try:
                loss = self._loss(samples)
            except torch.cuda.OutOfMemoryError as error:
                self._halve_locations(error)
        if not torch.isfinite(loss):
            raise self._not_finite(f"The loss became {loss.item()}")
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients of the loss; where the memory doesn't suffice, such that the step changes nothing."""
        try:
            loss.backward(*args, **kwargs)
        except torch.cuda.OutOfMemoryError as error:
            self.zero_grad(set_to_none=True)
            self._halve_locations(error)
            if self.recipe.precision == "16-mixed":
                # Half precision's scaler wants to see a gradient, and passes over a step with an infinite one.
                smallest = min((p for p in self.network.parameters() if p.requires_grad), key=Tensor.numel)
                smallest.grad = torch.full_like(smallest, torch.inf)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop before gradients that aren't numbers reach the weights (half precision's scaler looks itself)."""
        if self.recipe.precision == "16-mixed":
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if gradients and not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            raise self._not_finite("A gradient is not finite")

    def _not_finite(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} in step {self.global_step} on the cases {self._names}; the last good checkpoint is kept. "
            "Look at these cases, or resume with a lower rate (optimiser.learning_rate)."
        )

    def _loss(self, samples: Sequence[Sample]) -> Tensor:
        cases = [self._augmented(sample) for sample in samples]
        # A batch of one needs no copy.
        grids = cases[0].image[None] if len(cases) == 1 else torch.stack([case.image for case in cases])
        if isinstance(self.network, PFSeg):
            return self._whole_scan_loss(self.network, samples, cases, grids)
        return self._location_loss(samples, cases, grids)

    def _whole_scan_loss(
        self, network: PFSeg, samples: Sequence[Sample], cases: Sequence[Augmented], grids: Tensor
    ) -> Tensor:
        starts = [
            guidance_start(network, case.label, self._generator(sample, stream=6))
            for sample, case in zip(samples, cases, strict=True)
        ]
        terms = pfseg_losses(network, grids, torch.stack([case.label for case in cases]), starts, self.recipe.loss)
        loss = torch.stack(list(terms.values())).sum()
        named = {f"loss_{name}": term.detach() for name, term in terms.items()}
        self.log_dict({"loss": loss.detach()} | named, batch_size=len(samples))
        return loss

    def _location_loss(self, samples: Sequence[Sample], cases: Sequence[Augmented], grids: Tensor) -> Tensor:
        settings = self.recipe.loss
        windows = [case.window for case in cases]
        draws = [self._draw(*given) for given in zip(samples, cases, strict=True)]
        if self.recipe.sampling.strategy == "adaptive":
            draws = self._keep_unsure(samples, grids, draws, windows)
        answer = training_logits(self.network, grids, draws, windows, self.recipe.sampling.box_voxels)
        classes = torch.stack([classes_at(case.label, draw.indices) for case, draw in zip(cases, draws, strict=True)])
        loss = occupancy_loss(answer.logits, classes)
        self.log("loss", loss.detach(), batch_size=len(samples))
        if answer.auxiliary and settings.auxiliary:
            loss = loss + settings.auxiliary * self._auxiliary(answer, torch.stack([case.label for case in cases]))
        if settings.dice:
            loss = loss + settings.dice * dice_loss(answer.logits, classes)
        return loss

    def _auxiliary(self, answer: Answer, labels: Tensor) -> Tensor:
        parts, first = [], 0
        for logits, window in answer.auxiliary:
            covered = labels[first : first + len(logits)]
            first += len(logits)
            if window is not None:
                (i, j, k), (i_stop, j_stop, k_stop) = window
                covered = covered[:, i:i_stop, j:j_stop, k:k_stop]
            if isinstance(self.network, OSSNetX):
                covered = padded_to_cells(covered, self.network.encoder.factor)
            parts.append(auxiliary_loss(logits, covered))
        return torch.stack(parts).mean()

    def _augmented(self, sample: Sample) -> Augmented:
        generator = self._generator(sample, stream=1)
        grid, label = sample.grid.to(self.device).float(), sample.label.to(self.device)
        return augment(grid, label, sample.window, self.recipe.augmentation, generator)

    def _generator(self, sample: Sample, stream: int) -> torch.Generator:
        return case_generator(self.recipe.seed, sample.epoch, sample.number, stream=stream)

    def _draw(self, sample: Sample, case: Augmented) -> Draw:
        generator = self._generator(sample, stream=2)
        config: Any = self.network.config
        if getattr(config, "dimensions", 3) == 2:
            return draw_planes(case.label.shape, config.slice_axis, self.recipe.sampling.planes, generator)
        return draw_locations(case.image, case.label, self.recipe.sampling, generator, self._candidates())

    def _candidates(self) -> int:
        return self.locations * (_CANDIDATES if self.recipe.sampling.strategy == "adaptive" else 1)

    @torch.no_grad()
    def _keep_unsure(
        self, samples: Sequence[Sample], grids: Tensor, draws: list[Draw], windows: list[Window | None]
    ) -> list[Draw]:
        """Of each volume's candidates, those where the network is unsure, and a uniform share."""
        was_training = self.network.training
        self.network.eval()
        logits = training_logits(self.network, grids, draws, windows, self.recipe.sampling.box_voxels).logits
        self.network.train(was_training)
        kept = []
        for sample, draw, answer in zip(samples, draws, logits.float(), strict=True):
            generator = self._generator(sample, stream=3)
            odds = answer.sigmoid() if answer.shape[1] == 1 else answer.softmax(dim=1)
            odds = torch.cat([1 - odds, odds], dim=1) if answer.shape[1] == 1 else odds
            unsure = round(self.locations * self.recipe.sampling.border_fraction)
            chosen = unsure_locations(draw.indices, odds, unsure, generator)
            # Candidates are in random order, so that the first are a uniform share.
            kept.append(Draw(indices=torch.cat([chosen, draw.indices[: self.locations - unsure]])))
        return kept

    @property
    def _is_dense(self) -> bool:
        """The network sees whole volumes or planes in a step, so that fewer locations spare no memory."""
        is_planar = getattr(self.network.config, "dimensions", 3) == 2
        return is_planar or self.recipe.sampling.strategy == "all" or isinstance(self.network, PFSeg)

    def _halve_locations(self, error: Exception) -> None:
        if self._is_dense or self.locations // 2 < _FEWEST_LOCATIONS:
            what = "this network's step" if self._is_dense else f"{self.locations} locations a volume"
            raise OutOfMemoryError(
                f"The device's memory doesn't suffice for {what}; use a smaller batch_size or network, fewer planes "
                "(sampling.planes) with a 2D U-Net, or device=cpu."
            ) from error
        self.locations //= 2
        torch.cuda.empty_cache()
        logger.warning("out of memory: going on with %d locations a volume and step", self.locations)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the running average towards the weights; its first steps forget faster (Tensorflow's warm-up)."""
        if self.average is None:
            return
        self.averaged_steps += 1
        steps = int(self.averaged_steps)
        decay = min(self.recipe.optimiser.average_decay, (1 + steps) / (10 + steps))
        for kept, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(current, 1 - decay)
        for state, newest in zip(self.average.buffers(), self.network.buffers(), strict=True):
            state.copy_(newest)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the number of locations, which a lack of memory may have changed, and that which was asked for."""
        checkpoint["locations"] = self.locations
        checkpoint["locations_asked"] = self.recipe.sampling.locations

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the number of locations where the recipe still asks for the same.

        A checkpoint of a time when that wasn't kept begins with the recipe's, which memory may halve once more.
        """
        if checkpoint.get("locations_asked") == self.recipe.sampling.locations:
            self.locations = checkpoint["locations"]

    def on_train_start(self) -> None:
        """The recipe's rates hold, whatever a checkpoint has brought back with the optimiser's state."""
        for optimiser in self.trainer.optimizers:
            restate_rates(optimiser, self.recipe.optimiser)

    def validation_step(self, samples: Sequence[Sample], batch_index: int) -> None:
        """Dice of the judged weights on each case."""
        settings = self.recipe.validation
        for sample in samples:
            label = sample.label
            # As the engine answers: in full precision.
            with torch.autocast(self.device.type, enabled=False):
                field = field_of(self.judged.eval(), self.task, sample.grid.numpy(), self.device)
                if settings.protocol == "dense":
                    found = dense_classes(field, grid_lattice(self.task), settings.step).cpu()
                else:
                    generator = case_generator(self.recipe.seed, 0, sample.number, stream=4)
                    indices = uniform_locations(label.shape, settings.locations, generator)
                    found, label = classes_at_locations(field, indices).cpu(), classes_at(label, indices)
            self._scores.append(dice_of(overlap_counts(found, label, len(self.task.classes))))

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice of the whole foreground and of each class over all cases of all ranks."""
        self.judged_step = self.global_step
        total = torch.stack(self._scores).sum(0) if self._scores else torch.zeros(len(self.task.classes) + 1)
        gathered = torch.cat([total, torch.tensor([float(len(self._scores))])]).float().to(self.device)
        self._scores.clear()
        gathered = self.all_gather(gathered).reshape(-1, len(gathered)).sum(0)
        means = (gathered[:-1] / gathered[-1].clamp_min(1)).tolist()
        for name, value in zip(class_columns([entry.name for entry in self.task.classes]), means, strict=False):
            self.log(f"dice_{name}", value, rank_zero_only=True)
        self.network.train()
