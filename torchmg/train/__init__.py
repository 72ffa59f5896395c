"""Training: recipes as values, one visible loop, exact checkpoints, run folders."""
