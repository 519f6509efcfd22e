# shellcheck shell=bash
# Which Python runs a recipe, and on what. Source it after the options `python` and `ngpu`; then
#
#     need_gpus "$ngpu"
#     install_python             # what --python does not name

given_python=
if [ -n "$python" ]; then
    given_python=$(command -v "$python") ||
        { echo "${0##*/}: --python $python: found no such program. Name a Python that has the packages." >&2; exit 2; }
    python=$(realpath -ms "$given_python")
    SPEECHLM_BIN=$(dirname "$python") && export SPEECHLM_BIN
fi
. "${BASH_SOURCE[0]%/*}/../egs/TEMPLATE/path.sh"
python=${python:-$venv/bin/python}

install_python() {
    if [ -z "$given_python" ]; then run "$root/tools/install.sh"; fi
}

as_folder() {       # as_folder NAME: no program takes it for an option
    case $1 in -*) echo "./$1" ;; *) echo "$1" ;; esac
}

count_gpus() {      # those of this machine that CUDA_VISIBLE_DEVICES, if there is one, does not hide
    local found number shown=() count=0
    found=$({ nvidia-smi -L || ls -d /dev/nvidia[0-9]*; } 2>/dev/null | grep -c -e '^GPU ' -e '^/dev/' || true)
    if [ -z "${CUDA_VISIBLE_DEVICES+set}" ]; then echo "$found"; return; fi
    IFS=', ' read -ra shown <<< "$CUDA_VISIBLE_DEVICES"
    for number in "${shown[@]}"; do
        case $number in -*) break ;; esac
        count=$((count + 1))
    done
    echo $((count < found ? count : found))
}

need_gpus() {       # need_gpus N: refuse at once what would fail hours later. A job of a cluster looks on its machine
    local found
    if [ "$1" -eq 0 ] || [ "${SPEECHLM_CMD:-local}" != local ] || [ -e /dev/kfd ]; then return; fi
    found=$(count_gpus)
    if [ "$found" -ge "$1" ]; then return; fi
    echo "${0##*/}: --ngpu $1, but found $found GPUs" \
        "here${CUDA_VISIBLE_DEVICES+ (with CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES)}." \
        "Give --ngpu $found$([ "$found" -gt 0 ] || echo ", which means the CPU")." >&2
    exit 2
}
