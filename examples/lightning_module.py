"""Lightning: a callback moves epoch and maps on; checkpoints hold the loader's place.

    pip install lightning
    python -P examples/lightning_module.py [FOLDER]

Lightning saves and loads the state of any loader that has `state_dict` and `load_state_dict`, so a
run that was stopped in the middle of an epoch goes on with the batches that would have come.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from loaders import ScaePolicy, build_loader, open_data
from loaders.geometry import CropFlip
from loaders.scae_loader import ScaeLoader
from loaders.transforms import StandardTransform
from pipeline import refresh_from_network

EPOCHS, REFRESH_EVERY, SIZE = 4, 2, 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Classifier(lightning.LightningModule):
    """A small network; any with a spatial layer will do."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, num_classes),
        )
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _step: int) -> Tensor:
        """Return the loss of one batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        return torch.optim.SGD(self.network.parameters(), lr=0.05, momentum=0.9)


class Scae(lightning.Callback):
    """Keeps the loader at the trainer's epoch, and makes new maps every few epochs.

    Args:
        loader: The training loader.
        cache: Where the maps are.
    """

    def __init__(self, loader: ScaeLoader, cache: Path) -> None:
        self._loader, self._cache = loader, cache

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: object) -> None:
        """Move on to the epoch; every rank gets the maps that rank 0 finds newest."""
        has_maps = trainer.current_epoch >= REFRESH_EVERY
        self._loader.set_epoch(trainer.current_epoch, None if has_maps else 0)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Classifier) -> None:
        """Report, and refresh on rank 0; the others wait."""
        done = trainer.current_epoch + 1
        if not self._loader.finished:
            return  # Lightning says this too where it stops in the middle of an epoch
        if trainer.is_global_zero:
            print(self._loader.report().text)
            if done % REFRESH_EVERY == 0 and done < EPOCHS:
                refresh_from_network(
                    module.network,
                    self._loader.dataset.data,
                    self._cache,
                    size=SIZE,
                    mean=MEAN,
                    std=STD,
                    epoch=trainer.current_epoch,
                )
        trainer.strategy.barrier()


def train(folder: Path, steps: int = -1) -> list[float]:
    """Train to the end or for `steps` steps; go on from the newest checkpoint if there is one.

    Returns:
        The loss of every step of this call.
    """
    lightning.seed_everything(0, verbose=False)
    cache = folder / "maps.zarr"
    data = open_data("shapes", num_classes=4, imbalance=20)
    loader = build_loader(
        data,
        StandardTransform(geometry=CropFlip(SIZE), mean=MEAN, std=STD),
        cache=cache,
        policy=ScaePolicy(num_epochs=EPOCHS, class_counts=data.class_counts.tolist()),
        batch_size=64,
        generation=0,
    )
    checkpoints = ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, save_top_k=0)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        max_steps=steps,
        callbacks=[Scae(loader, cache), checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Classifier(data.num_classes)
    last = folder / "last.ckpt"
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None)
    return module.losses


def main(folder: Path) -> None:
    """Compare a run that was stopped in the middle of an epoch with one that was not."""
    # Lightning counts the workers of DataLoaders, and warns of everything else.
    warnings.filterwarnings("ignore", module="lightning")
    undisturbed = train(folder / "undisturbed")
    steps = len(undisturbed)
    stopped = [*train(folder / "stopped", steps // 2 - 3), *train(folder / "stopped")]
    print(f"{steps} steps, last loss {undisturbed[-1]:.6f}")
    print(f"equal to the bit: {stopped == undisturbed}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
