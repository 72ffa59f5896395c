"""The papers: their tables beside our counts and measurements, and their mathematics checked by other means."""
