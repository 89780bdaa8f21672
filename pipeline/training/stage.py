"""A part of a run: whom it trains, by what loss, on which batches, at what rate."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from loaders.scae_loader import ScaeLoader
from pipeline.training.logit_scaling import LogitScaling
from pipeline.training.losses.objective import Objective
from pipeline.training.ranks import Ranks
from pipeline.training.weight_average import averaged, take_average


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Stage:
    """One way of training, for a range of the run's epochs."""

    number: int
    """1, or 2 for a second stage."""
    epochs: range
    """0-based epochs of the run that belong to it."""
    network: nn.Module
    """The run's network."""
    objective: Objective
    """What is minimised."""
    optimizer: SGD
    """Holds what is trained; a group's `lr_factor` multiplies its learning rate."""
    loader: ScaeLoader
    """Training batches."""
    learning_rate: Callable[[int], float]
    """The rate of a 0-based epoch of the run."""
    lam: Callable[[int], float]
    """Guidance strength of a 0-based epoch of the run."""
    scaling: LogitScaling | None = None
    """Learnable factors of the logits, folded into the network wherever it leaves the stage."""
    batchnorm_moves: bool = True
    """Whether BatchNorm uses and tracks the statistics of the stage's batches."""
    parallel: DistributedDataParallel | None = None
    """Network and factors, so wrapped that gradients are means over the ranks; None for one."""
    average: AveragedModel | None = None
    """Moving average of the network's weights, which is evaluated and is the stage's result; never
    together with `scaling`."""

    def logits(self, images: Tensor) -> Tensor:
        """Return (B, K) logits of (B, 3, S, S) images, to be trained by."""
        logits_BK: Tensor
        if self.parallel is not None:
            logits_BK = self.parallel(images)
            return logits_BK
        logits_BK = self.network(images)
        return logits_BK if self.scaling is None else self.scaling(logits_BK)

    def over(self, ranks: Ranks, side: int) -> "Stage":
        """Return the stage so that all ranks train it together, on images of side x side pixels."""
        scaling = [] if self.scaling is None else [self.scaling]
        return replace(self, parallel=ranks.parallel(nn.Sequential(self.network, *scaling), side))

    def gradients(self, *, shared: bool) -> AbstractContextManager[None]:
        """Return a context for forward and backward passes.

        Args:
            shared: Whether gradients become means over all ranks; else they stay here, to be added
                to those of a later pass.
        """
        if shared or self.parallel is None:
            return nullcontext()
        return self.parallel.no_sync()

    def begin_epoch(self, epoch: int) -> float:
        """Set modes and rates of a 0-based epoch; return the learning rate."""
        self.network.train()
        if not self.batchnorm_moves:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        rate = self.learning_rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        return rate

    def update(self) -> None:
        """Step the optimiser along the gradients there, and the average after it; drop them."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def folded(self) -> AbstractContextManager[None]:
        """Return a context in which the network alone computes what is being trained."""
        return nullcontext() if self.scaling is None else self.scaling.folded()

    def deployed(self) -> AbstractContextManager[None]:
        """Return a context in which the network alone computes what the stage has learnt."""
        return self.folded() if self.average is None else averaged(self.network, self.average)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs beside the folded network and the optimiser."""
        if self.average is not None:
            return dict(self.average.state_dict())
        return {} if self.scaling is None else self.scaling.stage_state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned; the folded network must have been loaded before."""
        if self.average is not None:
            self.average.load_state_dict(state)
        if self.scaling is not None:
            self.scaling.load_stage_state(state)

    def finish(self) -> None:
        """Leave the network for good as it is deployed."""
        if self.average is not None:
            take_average(self.network, self.average)
        if self.scaling is not None:
            self.scaling.fold()
