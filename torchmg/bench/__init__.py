"""Measuring time, side by side in one run."""
