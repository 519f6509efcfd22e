# Environment of every recipe: sourced, never run.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${SPEECHLM_VENV:-$root/tools/venv}      # made by tools/install.sh
export PATH=${SPEECHLM_BIN:-$venv/bin}:$PATH    # SPEECHLM_BIN: where the Python of --python is
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}   # this clone's own code, even in a shared environment
unset PYTHONDONTWRITEBYTECODE                # kept byte code starts ESPnet in 8 s, not 27
export PYTHONUTF8=1 PYTHONUNBUFFERED=1
export TOKENIZERS_PARALLELISM=false
export PYTHONWARNINGS=ignore::FutureWarning,ignore::DeprecationWarning      # of the packages; none concerns a user
