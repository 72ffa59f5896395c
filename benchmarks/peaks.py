"""What this machine can do at most: GFLOP/s of float32 matrix products, GB/s of copies by size.

uv run python benchmarks/peaks.py       writes peaks.json beside this file, or in --out
"""

from torchmg.bench.script import script


def main() -> None:
    run = script(__file__, __doc__)
    run.write([])  # every record has the peaks


if __name__ == "__main__":
    main()
