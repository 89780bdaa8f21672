"""Training with the maps: recipes, trainer, checkpoints, metrics, report."""
