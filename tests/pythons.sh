#!/usr/bin/env -S bash -p
# Runs all tests and every stage of tiny mini_cvss under other Pythons than the default one, each in an environment of
# its own, and keeps what came of it in the table of tests/long/PYTHONS.md. Needs those Pythons, and 6 GB of disk for
# each environment.
#
#   tests/pythons.sh                  3.12 and 3.13
#   tests/pythons.sh 3.12             one of them
#   SPEECHLM_VENVS=/big/disk tests/pythons.sh      environments in /big/disk/3.12, ... (default: tools/venvs)
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail
cd "$(realpath -m "$0/../..")"
venvs=${SPEECHLM_VENVS:-$PWD/tools/venvs}
report=tests/long/PYTHONS.md
unset PYTHON

one_python() {            # one_python VERSION: a row of the table; the logs stay beside the environment
    local began=$SECONDS work tests recipe versions
    export SPEECHLM_VENV=$venvs/$1
    for PYTHON in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$PYTHON" -c 'import sys' 2>/dev/null; then break; fi
    done
    export PYTHON
    tools/install.sh
    work=$(mktemp -d)
    tests=$(tests/run.sh 2>&1 | tee "$venvs/$1.tests.log" | tail -n 1 | tr -d '=') || true
    recipe="all ten stages"
    egs/mini_cvss/run.sh --preset tiny --datadir "$work/data" --dumpdir "$work/dump" --expdir "$work/exp" \
        > "$venvs/$1.recipe.log" 2>&1 || recipe="failed: $(tail -n 1 "$venvs/$1.recipe.log")"
    rm -rf "$work"
    versions=$("$SPEECHLM_VENV/bin/python" -c 'import platform
from importlib.metadata import version
packages = ", ".join(f"{name} {version(name)}" for name in ("espnet", "torch", "transformers", "numpy"))
print(platform.python_version(), "|", packages)')
    echo "| $versions | $tests | $recipe | $(date -u +%F) | $(git rev-parse --short=12 HEAD) | $((SECONDS - began)) s |"
    [ "$recipe" = "all ten stages" ] && [[ $tests != *failed* && $tests != *error* && $tests == *passed* ]]
}

status=0
mkdir -p "$venvs"
for version in "${@:-3.12 3.13}"; do
    for one in $version; do
        one_python "$one" > "$venvs/$one.row" || status=1
        tail -n 1 "$venvs/$one.row"
    done
done
{
    echo "# Other Pythons"
    echo
    echo "Written by \`tests/pythons.sh\`: all tests (\`tests/run.sh\`), then \`egs/mini_cvss/run.sh --preset tiny\`."
    echo
    echo "| Python | packages | tests | tiny mini_cvss | date | commit | took |"
    echo "|---|---|---|---|---|---|---|"
    for row in "$venvs"/*.row; do tail -n 1 "$row"; done
    sed '1,/^|---/d; /^| /d' "$report"           # what people wrote below the table
} > "$venvs/report.md"
mv "$venvs/report.md" "$report"
exit "$status"
}
