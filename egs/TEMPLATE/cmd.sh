# shellcheck shell=bash
# Where jobs run: words put before each command, chosen by SPEECHLM_CMD (sourced, never run).
# A command must run in the current folder, wait, and pass on the exit status and signals: srun does.
case ${SPEECHLM_CMD:-local} in
    local)    # on this machine
        cpu_cmd=() gpu_cmd=() train_cmd=()
        if [ "$nodes" -gt 1 ]; then
            echo "cmd.sh: --nodes $nodes needs a cluster: SPEECHLM_CMD=slurm." \
                "To start a training by hand on each machine, with torchrun: python -m speechlm.bin.train --help." >&2
            exit 2
        fi ;;
    slurm)    # on a cluster that shares this folder. Your site's options, here or in the environment:
        slurm_all=${SPEECHLM_SLURM:-}          # of every job: "--partition=main --account=speech --time=2-0"
        slurm_cpu=${SPEECHLM_SLURM_CPU:-}      # of data, codes and scores besides: "--mem-per-cpu=4G"
        slurm_gpu=${SPEECHLM_SLURM_GPU:-}      # of training and decoding besides: "--partition=gpu --mem=64G"
        slurm_cores=$((ngpu > 0 ? 4 * ngpu : nj))
        lists slurm_all slurm_cpu slurm_gpu
        cpu_cmd=(srun --ntasks=1 --cpus-per-task="$nj" "${slurm_all[@]}" "${slurm_cpu[@]}")
        gpu_cmd=(srun --ntasks=1 --cpus-per-task="$slurm_cores" "${slurm_all[@]}" "${slurm_gpu[@]}")
        train_cmd=(srun --nodes="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 --cpus-per-task="$slurm_cores"
            "${slurm_all[@]}" "${slurm_gpu[@]}")
        if [ "$ngpu" -gt 0 ]; then gpu_cmd+=(--gpus="$ngpu") train_cmd+=(--gpus-per-node="$ngpu"); fi ;;
    *)
        echo "cmd.sh: SPEECHLM_CMD is '$SPEECHLM_CMD', expected local or slurm." >&2
        exit 2 ;;
esac
