"""Timing jobs: a script in a process of its own, with the device to itself. No torch."""

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torchmg.train.files import write_json


def run_script(script: str, folder: Path, environment: dict[str, Any], limit: float = math.inf) -> str | None:
    """Run `python SCRIPT --out FOLDER/out` to its end and write `record.json`; what it printed stays in the folder.

    A timing cannot be continued, so it always starts from nothing, and what an earlier attempt left is removed.

    Args:
        script: path of a Python file. The JSON files that it writes into its `--out` go into the record.
        folder: the job's own.
        environment: what the record says about the machine.
        limit: reading of `time.monotonic()` at which it is killed.

    Returns:
        None when the record is written; else why not.

    Raises:
        TimeoutError: it was killed at `limit`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    written = folder / "out"
    written.mkdir(parents=True)
    started = time.monotonic()
    with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as errors:
        command = [sys.executable, script, "--out", str(written)]
        process = subprocess.Popen(command, stdout=out, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = process.wait(None if limit == math.inf else max(limit - started, 0.0))
        except subprocess.TimeoutExpired:
            raise TimeoutError(script) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # what it started too
                process.wait()
    if code:
        last = (folder / "stderr.txt").read_text(errors="replace").strip().rpartition("\n")[2]
        return f"exit code {code}" + (f": {last}" if last else "")
    try:
        results = {path.stem: json.loads(path.read_text()) for path in sorted(written.glob("*.json"))}
    except ValueError as error:
        return f"a JSON file that it wrote cannot be read: {error}"
    record = {
        "script": script,
        "sha256": hashlib.sha256(Path(script).read_bytes()).hexdigest(),
        "exit_code": code,
        "seconds": round(time.monotonic() - started, 1),
        "results": results,
        "environment": environment,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    write_json(folder / "record.json", record)
    return None
