#!/usr/bin/env bash
# Makes tests/fixtures/ from scratch: a virtual environment with the pinned packages, then make.py.
# Arguments go to make.py, e.g. `tools/golden/make.sh unet schedulers`.
set -euo pipefail
cd "$(dirname "$0")"
[ -d .venv ] || { python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt; }
exec .venv/bin/python make.py "$@"
