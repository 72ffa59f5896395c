"""Trained networks turned into multigrid ones."""
