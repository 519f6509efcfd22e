# shellcheck shell=bash
# Environment of every recipe: sourced, never run. What a user's own environment says to Python, the shell and its tools
# does not count here.
root=$(realpath -m "${BASH_SOURCE[0]}/../../..")
venv=${SPEECHLM_VENV:-tools/venv}            # made by tools/install.sh, and as there: relative to this clone
case $venv in /*) ;; *) venv=$root/$venv ;; esac
programs=${SPEECHLM_BIN:-$venv/bin}          # SPEECHLM_BIN: where the Python of --python is
case $root$programs in *:*)
    echo "path.sh: there is a colon in $root or $programs, which ends a folder's name in PATH and PYTHONPATH:" \
        "other code would run. Rename the folder, or clone elsewhere (SPEECHLM_VENV: the environment)." >&2
    return 2 ;;
esac
for _name in "${!PYTHON@}"; do               # PYTHONPATH of a module system, PYTHONHOME, PYTHONINSPECT, ...
    if [ "$_name" != PYTHON ]; then unset "$_name"; fi
done
unset CDPATH BASH_ENV ENV POSIXLY_CORRECT GREP_OPTIONS TAR_OPTIONS
export PATH=$programs:$PATH
export PYTHONPATH=$root                      # this clone's own code, even in a shared environment
export PYTHONNOUSERSITE=1 PYTHONUTF8=1 PYTHONUNBUFFERED=1
export TOKENIZERS_PARALLELISM=false
export PYTHONWARNINGS=ignore::FutureWarning,ignore::DeprecationWarning      # of the packages; none concerns a user
export LOGNAME=${LOGNAME:-${USER:-$(id -un 2>/dev/null || true)}}   # some users have no name: Python takes the number

# What packages keep for themselves goes to HOME; where that can't be written to, to a temporary folder of this user's.
if ! mkdir -p "${XDG_CACHE_HOME:=${HOME:-/dev/null}/.cache}" 2>/dev/null || [ ! -w "$XDG_CACHE_HOME" ]; then
    _models=$XDG_CACHE_HOME/huggingface       # read there all the same
    if [ -d "$_models" ]; then export HF_HOME=${HF_HOME:-$_models}; fi
    XDG_CACHE_HOME=${TMPDIR:-/tmp}/speechlm-$EUID
    mkdir -m 700 "$XDG_CACHE_HOME" 2>/dev/null || [ -O "$XDG_CACHE_HOME" ] || XDG_CACHE_HOME=$(mktemp -d)
    export XDG_CACHE_HOME HOME=${HOME:-$XDG_CACHE_HOME} MPLCONFIGDIR=$XDG_CACHE_HOME/matplotlib
    export NUMBA_CACHE_DIR=$XDG_CACHE_HOME/numba TRITON_CACHE_DIR=$XDG_CACHE_HOME/triton
    export TORCHINDUCTOR_CACHE_DIR=$XDG_CACHE_HOME/inductor
fi
