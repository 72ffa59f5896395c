"""Trained networks made fast to call: `torchmg.optimize`."""
