"""Grouped convolutions and what surrounds them on NVIDIA GPUs: Triton kernels on channels-last tensors."""
