"""Triton kernels for NVIDIA GPUs, channels last."""
