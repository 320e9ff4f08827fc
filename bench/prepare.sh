#!/usr/bin/env bash
# Makes bench/cache/ from scratch: a virtual environment with the pinned packages, then export_onnx.py. Arguments go to
# it, e.g. `bench/prepare.sh cifar10-32`.
set -euo pipefail
cd "$(dirname "$0")"
[ -d .venv ] || { python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt; }
exec .venv/bin/python -B export_onnx.py "$@"
