"""Counting parameters and multiply-accumulates, with the conventions stated."""

from torchmg.counting.report import Count, count

__all__ = ["Count", "count"]
