#!/usr/bin/env bash
# Runs the tests; on a bare clone installs everything first. Arguments go to pytest: tests/run.sh tests/data -k kaldi
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/install.sh
. egs/TEMPLATE/path.sh
export OMP_NUM_THREADS=1
exec "$venv/bin/python" -m pytest -n "${TEST_JOBS:-2}" "$@"
