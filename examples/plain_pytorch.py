"""Your own loop, your own data set, a torchvision pipeline; stopped in the middle and resumed.

    python -P examples/plain_pytorch.py [FOLDER]

Everything random is a function of the seed, so the resumed run sees the very batches that the
undisturbed one would have. Takes a few seconds on two cores.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from loaders import ScaePolicy, build_loader, build_transform, open_data
from pipeline import refresh_from_network

EPOCHS, REFRESH_EVERY, SIZE = 4, 2, 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Pictures(Dataset[tuple[Image.Image, int]]):
    """Stands for your data set: anything with a length that gives (image, label)."""

    def __init__(self) -> None:
        self._data = open_data("shapes", num_classes=4, imbalance=20)
        self.classes, self.targets = self._data.class_names, self._data.labels

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self._data.read(index)), int(self.targets[index])


def build_network(num_classes: int) -> nn.Module:
    """Return a small network; any with a spatial layer will do."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


def train(folder: Path, stop_after: int | None = None) -> Tensor:
    """Train to the end or for `stop_after` steps; go on from the checkpoint if there is one.

    Returns:
        The last loss.
    """
    pictures = Pictures()
    pipeline = v2.Compose(
        [
            v2.RandomCrop(SIZE, padding=4),
            v2.RandomHorizontalFlip(),
            v2.RandomGrayscale(0.1),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    counts = np.bincount(pictures.targets).tolist()
    cache, checkpoint = folder / "maps.zarr", folder / "checkpoint.pt"
    loader = build_loader(
        pictures,
        build_transform(pipeline, size=SIZE),
        cache=cache,
        policy=ScaePolicy(num_epochs=EPOCHS, class_counts=counts),
        batch_size=64,
        num_workers=1,
        generation=0,  # no maps yet: centres are uniform
    )
    torch.manual_seed(0)
    network = build_network(len(counts))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])

    loss, steps = torch.zeros(()), 0
    generation = loader.generation
    for epoch in range(loader.epoch, EPOCHS):
        loader.set_epoch(epoch, generation)  # after a resume this keeps the place in the epoch
        for images, labels in loader:
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
            if steps == stop_after:
                torch.save(
                    {
                        "network": network.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                    },
                    checkpoint,
                )
                return loss.detach()
        print(loader.report().text)
        if (epoch + 1) % REFRESH_EVERY == 0 and epoch + 1 < EPOCHS:
            report = refresh_from_network(
                network, loader.dataset.data, cache, size=SIZE, mean=MEAN, std=STD, epoch=epoch
            )
            generation = report.generation.number
    return loss.detach()


def main(folder: Path) -> None:
    """Compare a run that was stopped with one that was not."""
    runs = {}
    for name, stops in (("undisturbed", []), ("stopped", [20])):
        place = folder / name
        place.mkdir()
        for stop_after in stops:
            train(place, stop_after)
        runs[name] = train(place)
        print(f"{name}: last loss {runs[name].item():.6f}")
    print(f"equal to the bit: {torch.equal(runs['undisturbed'], runs['stopped'])}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
