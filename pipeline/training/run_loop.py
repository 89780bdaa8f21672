"""The loop of a run: epochs, measurements, checkpoints, and new maps after them."""

import time
from collections.abc import Callable
from dataclasses import replace

from cache_store.store import SaliencyStore
from loaders.batches import NO_GENERATION
from pipeline.errors import Stopped
from pipeline.training.checkpoint import Progress, save_checkpoint
from pipeline.training.contact import Contact
from pipeline.training.epoch import train_epoch
from pipeline.training.epoch_sums import EpochSums, epoch_row, seen_so_far, taken_up
from pipeline.training.evaluation import evaluate_run
from pipeline.training.first_stage import first_stage
from pipeline.training.harvest import Harvest
from pipeline.training.pauses import Pauses
from pipeline.training.ranks import ALONE
from pipeline.training.refreshes import Refreshes
from pipeline.training.run_events import epoch_facts, epoch_line, refresh_facts
from pipeline.training.run_folder import Row, RunFolder
from pipeline.training.run_log import RunLog
from pipeline.training.second_stage import second_stage
from pipeline.training.setup import RunParts
from pipeline.training.stage import Stage
from pipeline.training.summary import finish


class RunLoop:
    """The epochs of all stages, on each rank.

    Args:
        parts: The run's parts.
        folder: The run folder.
        contact: Asked between steps whether to stop, and shown them.
        refreshes: Say which maps an epoch draws from.
        harvest: Takes maps from the first stage's steps; None for a run that does not.
        log: Told what happens.
        checkpoint_seconds: Time between two checkpoints in the middle of an epoch; 0 for none.
    """

    def __init__(
        self,
        parts: RunParts,
        folder: RunFolder,
        contact: Contact,
        refreshes: Refreshes,
        harvest: Harvest | None,
        log: RunLog,
        checkpoint_seconds: float,
    ) -> None:
        self.parts, self.folder, self.contact = parts, folder, contact
        self.refreshes, self.harvest, self.log = refreshes, harvest, log
        self.checkpoint_seconds = checkpoint_seconds
        self.ranks = parts.ranks
        self.stage = first_stage(parts)

    def stage_of(self, epoch: int) -> Stage:
        """Return the stage of an epoch; the second one begins with what the first has learnt."""
        if epoch >= self.stage.epochs.stop:
            self.stage.finish()
            self.stage = second_stage(self.parts)
        return self.stage

    def run(self, progress: Progress) -> None:
        """Train the epochs that are left and write summary and report."""
        rows = list(progress.rows)
        generation, begun = progress.generation, None
        if progress.loader is not None:
            begun = progress
        elif progress.epoch >= 0:
            generation = self._next_generation(progress, rows)
        for epoch in range(progress.epoch + 1, self.parts.recipe.num_epochs):
            rows.append(self._epoch(epoch, generation, rows, begun))
            begun = None
            progress = self._checkpoint(epoch, generation, rows)
            generation = self._next_generation(progress, rows)
        self.stage.finish()
        if self.ranks.leads:
            if self.stage.average is not None:
                self.folder.write_weights(self.parts.built.module)
            finish(replace(self.parts, ranks=ALONE), self.folder, rows, self.log)

    def _epoch(self, epoch: int, generation: int, rows: list[Row], begun: Progress | None) -> Row:
        """Train and measure an epoch, or what is left of the one that had begun."""
        parts, stage = self.parts, self.stage_of(epoch)
        lr = stage.begin_epoch(epoch)
        sums = EpochSums()
        if begun is not None and begun.loader is not None:
            sums = taken_up(stage.loader, begun.loader, begun.seen)
        stage.loader.set_epoch(epoch, generation)
        label = f"epoch {epoch} of 0..{parts.recipe.num_epochs - 1}"

        def save() -> None:
            self._checkpoint(epoch - 1, generation, rows, sums)

        pauses = Pauses(self.ranks, self.contact.stop, self.checkpoint_seconds, save)
        harvest = self.harvest if stage.number == 1 else None
        train_epoch(parts, stage, epoch, sums, pauses, self.contact.progress(label), harvest)
        if harvest is not None:
            sums.time_harvest(lambda: harvest.end_epoch(epoch))
        row: Row = {
            "epoch": epoch,
            "stage": stage.number,
            "lr": lr,
            "lam": stage.lam(epoch),
            "generation": generation,
            "seconds_refresh": 0.0,
            "refresh": "",
            **epoch_row(sums, stage.loader, self.ranks),
            **self._evaluate(save),
        }
        if self.ranks.leads:
            facts = epoch_facts(row)
            text = epoch_line(facts, parts.recipe.augment.name)
            self.log.tell("epoch", f"{label}  {text}", **facts)
        return row

    def _evaluate(self, save: Callable[[], None]) -> Row:
        """Measure the network; if stopped meanwhile, `save` before."""
        begun = time.perf_counter()
        self.ranks.share_buffers(self.stage.network)
        if self.stage.average is not None:
            self.ranks.share_buffers(self.stage.average)
        try:
            with self.stage.deployed():
                evaluated = evaluate_run(self.parts, stop=self.contact.stop)
        except Stopped:
            save()
            raise
        if evaluated is None:
            return {"seconds_evaluate": 0.0}
        result, groups = evaluated
        return {
            "test_loss": result.loss,
            "test_top1": result.top1,
            "test_top5": result.top5,
            "test_balanced": result.balanced,
            "test_ece": result.ece,
            **{f"test_{name}": share for name, share in groups.items()},
            "seconds_evaluate": time.perf_counter() - begun,
        }

    def _checkpoint(
        self, epoch: int, generation: int, rows: list[Row], middle: EpochSums | None = None
    ) -> Progress:
        """Write the checkpoint after an epoch, or in the middle of the one that follows it.

        Args:
            epoch: 0-based epoch that is done.
            generation: Generation that it was drawn from, or the following one is.
            rows: metrics.csv up to this epoch.
            middle: Sums of the following epoch, if it has begun.
        """
        parts, loader = self.parts, self.stage.loader
        digest = ""
        if generation != NO_GENERATION:
            digest = SaliencyStore.open(parts.cache).generation(generation).digest
        progress = Progress(
            epoch=epoch,
            generation=generation,
            generation_digest=digest,
            rows=tuple(rows),
            loader=None if middle is None else loader.state_dict(),
            seen=None if middle is None else seen_so_far(middle, loader),
        )
        save_checkpoint(
            self.folder,
            self.stage,
            progress,
            parts.recipe.digest(),
            keep=parts.recipe.train.keep_checkpoints,
            ranks=self.ranks,
            harvest=self.harvest,
        )
        if middle is None and self.ranks.leads:
            self.folder.write_metrics(rows)
        return progress

    def _next_generation(self, progress: Progress, rows: list[Row]) -> int:
        """Return the generation of the next epoch; the last row gets what the refresh tells."""
        following = self.refreshes.after(progress, self.stage)
        rows[-1] = {**rows[-1], **following.told}
        if self.ranks.leads:
            self._account(rows)
        return following.generation

    def _account(self, rows: list[Row]) -> None:
        """Note what the refresh took, if there was one, where the next process finds it."""
        row = rows[-1]
        # One that was killed in the epoch after the refresh had noted and told it.
        earlier = self.folder.seconds_refresh(row["epoch"])
        if earlier:
            row["seconds_refresh"] = earlier
        self.folder.write_metrics(rows)
        if row["seconds_refresh"] and not earlier:
            facts = refresh_facts(row)
            share, epoch = facts["share_refresh"], facts["epoch"]
            # Of maps that others made in time there is nothing to say.
            text = f"maps took {share:.1%} of the time of epoch {epoch}" if share > 5e-4 else ""
            self.log.tell("refresh", text, **facts)
