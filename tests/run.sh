#!/usr/bin/env -S bash -p
# Runs the tests; on a bare clone installs everything first. Arguments go to pytest: tests/run.sh tests/data -k kaldi
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/../..")"
. egs/TEMPLATE/path.sh
tools/install.sh
export OMP_NUM_THREADS=1
# a file stays in one process: what its tests share is made once; tests/conftest.py puts long files first
exec "$venv/bin/python" -m pytest -n "${TEST_JOBS:-2}" --dist loadfile --no-loadscope-reorder "$@"
}
