"""Trained networks as files that run without torchmg, each verified against the network itself."""
