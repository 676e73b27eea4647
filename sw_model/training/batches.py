"""Training batches of one phase for Lightning: drawn by step, augmented on the device.

On a GPU the images lie there whole, as uint8, if they are a tensor; a step then waits for no copy.
"""

from collections.abc import Callable, Iterator

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sw_model.data.augment import contrastive_view, crop_flip
from sw_model.data.dataset import DataSet, Images
from sw_model.data.draws import batch_indices, bring, step_generator

__all__ = ["Batch", "RawBatch", "StepBatches", "TrainingData"]

Batch = tuple[Tensor, Tensor]
RawBatch = tuple[Tensor, Tensor, int]


class StepBatches(IterableDataset[RawBatch]):
    """Batches of the steps `start()`, `start() + 1`, ...; each a function of (seed, step)."""

    def __init__(self, make: Callable[[int], RawBatch], start: Callable[[], int]) -> None:
        self.make, self.start = make, start

    def __iter__(self) -> Iterator[RawBatch]:
        step = self.start()
        while True:
            yield self.make(step)
            step += 1


class TrainingData(L.LightningDataModule):
    """Augmented training batches of one phase, continuing at the trainer's global step.

    With several processes each takes every so many-th image of a step's joint batch, and draws its own augmentation.

    Parameters
    ----------
    data
        The data set.
    contrastive
        Whether a batch is (view 1, view 2), or (images, labels).
    size
        Height and width of the crops.
    batch_size
        Images in a batch, of all processes together.
    seed
        Of order and augmentation.
    """

    def __init__(self, data: DataSet, contrastive: bool, size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.data, self.contrastive = data, contrastive
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.images: Images = data.train
        self.labels = data.train_labels

    def lay(self, device: torch.device) -> None:
        """Lay images and labels on a GPU."""
        if device.type == "cuda" and isinstance(self.data.train, Tensor):
            self.images, self.labels = self.data.train.to(device), self.data.train_labels.to(device)

    @property
    def place(self) -> tuple[int, int]:
        """Rank of this process, and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def batch(self, step: int) -> RawBatch:
        """This process's images (n, H, W, 3) uint8 and labels of one step, and the step."""
        rank, processes = self.place
        chosen = batch_indices(self.seed, step, self.batch_size, len(self.data.train))[rank::processes]
        chosen = bring(chosen, self.labels.device)
        return self.images[chosen], self.labels[chosen], step

    def augment(self, batch: RawBatch) -> Batch:
        """Two views of the images, or crops and labels."""
        images, labels, step = batch
        # Stream 1 orders the images.
        generator = step_generator(self.seed, step, stream=2 * self.place[0])
        if self.contrastive:
            options = self.data.least_area, self.data.flip
            first = contrastive_view(images, self.size, generator, *options)
            return first, contrastive_view(images, self.size, generator, *options)
        pad = 2 if self.size == images.shape[1] else 0
        return crop_flip(images, self.size, pad, generator, self.data.flip), labels

    def train_dataloader(self) -> DataLoader[RawBatch]:
        """Endless batches from the global step on; the trainer's `max_steps` ends them."""
        trainer = self.trainer
        assert trainer is not None
        self.lay(trainer.strategy.root_device)
        return DataLoader(StepBatches(self.batch, lambda: trainer.global_step), batch_size=None)

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> Batch:
        """Augment on the device that the batch was brought to."""
        with torch.no_grad():
            return self.augment(batch)
