"""Conversion of any network's dense layers and blocks into multigrid ones."""
