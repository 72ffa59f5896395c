#!/usr/bin/env bash
# Run the tests with the oldest torch that torchmg supports. Arguments go to pytest: tools/test_oldest.sh -m slow
# The pins of pyproject.toml hold for the newest end only, so uv is told here not to read them (--no-config).
# Its Triton interprets kernels with NumPy before 2.4 only (on a GPU they run with any).
# TORCHMG_OLDEST names the environment's folder (default: build/oldest), TORCHMG_PYTHON the Python (default: 3.11).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${TORCHMG_OLDEST:-build/oldest}
uv venv --no-config --quiet --allow-existing --python "${TORCHMG_PYTHON:-3.11}" "$venv"
uv pip install --no-config --python "$venv" --group dev --editable . 'torch==2.11.*' 'torchvision==0.26.*' 'numpy<2.4'
exec "$venv/bin/python" -m pytest "$@"
