"""What tools/results.py writes: parts of pages and values in prose, from records and from what papers print."""
