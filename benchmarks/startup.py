"""How long `torchmg --help` and `torchmg list` take, as whole processes.

    uv run python benchmarks/startup.py            measures and rewrites startup.json beside this file, or in --out

Each command runs once unmeasured (warm cache) and then five times, in turn with the other and with a bare interpreter,
which is the floor: `python -c pass`.
"""

import argparse
import json
import platform
import subprocess
import sys
import sysconfig
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RUNS = 5


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description="Time torchmg --help and torchmg list.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    out = parser.parse_args().out
    torchmg = str(Path(sysconfig.get_path("scripts")) / "torchmg")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "torchmg --help": [torchmg, "--help"],
        "torchmg list": [torchmg, "list"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS + 1):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: round(median(values[1:]), 3) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<16}{value:.3f} s")
    record = {
        "command": "uv run python benchmarks/startup.py",
        "median_seconds": medians,
        "runs": RUNS,
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    (out / "startup.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
