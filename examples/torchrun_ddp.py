"""Several ranks: rank 0 makes the maps, all ranks move to them at the same epoch boundary.

    torchrun --nproc-per-node 2 examples/torchrun_ddp.py FOLDER

The ranks together deliver each sample once an epoch, with the boxes that one process would draw at
the same global batch. Takes a few seconds on two cores.
"""

import sys
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from loaders import ScaePolicy, build_loader, open_data
from loaders.geometry import CropFlip
from loaders.transforms import StandardTransform
from pipeline import refresh_from_network

EPOCHS, REFRESH_EVERY, SIZE, GLOBAL_BATCH = 4, 2, 32, 64
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def main(folder: Path) -> None:
    """Train; torchrun has set the rank and the number of ranks."""
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    cache = folder / "maps.zarr"
    data = open_data("shapes", num_classes=4, imbalance=20)
    loader = build_loader(  # finds rank and world size by itself
        data,
        StandardTransform(geometry=CropFlip(SIZE), mean=MEAN, std=STD),
        cache=cache,
        policy=ScaePolicy(num_epochs=EPOCHS, class_counts=data.class_counts.tolist()),
        batch_size=GLOBAL_BATCH // world_size,
        generation=0,
    )
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, data.num_classes),
    )
    parallel = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(EPOCHS):
        # None: rank 0 looks the newest generation up and tells the others.
        generation = loader.set_epoch(epoch, None if epoch >= REFRESH_EVERY else 0)
        seen = torch.zeros(len(data))
        for batch in loader:
            images, labels = batch
            loss = nn.functional.cross_entropy(parallel(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen[batch.indices] += 1
        torch.distributed.all_reduce(seen)
        if (epoch + 1) % REFRESH_EVERY == 0 and epoch + 1 < EPOCHS and rank == 0:
            refresh_from_network(network, data, cache, size=SIZE, mean=MEAN, std=STD, epoch=epoch)
        torch.distributed.barrier()  # nobody asks for maps that are still being made
        print(
            f"rank {rank} of {world_size}, epoch {epoch}: generation {generation}, every sample "
            f"once: {bool((seen == 1).all())}\n",
            end="",  # one write a line: torchrun's ranks are unbuffered and share the terminal
            flush=True,
        )
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
