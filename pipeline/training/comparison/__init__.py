"""Tables of many runs: ours beside the paper's figures and published ones."""
