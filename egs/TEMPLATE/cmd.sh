# Where jobs run: words put before each command, chosen by SPEECHLM_CMD (sourced, never run).
# A command must run in the current folder, wait, and pass on the exit status: srun does.
case ${SPEECHLM_CMD:-local} in
    local)    # on this machine
        cpu_cmd=
        gpu_cmd= ;;
    slurm)    # on a cluster that shares this folder; SPEECHLM_SLURM holds your site's options (partition, time, ...)
        cpu_cmd="srun --ntasks=1 --cpus-per-task=$nj ${SPEECHLM_SLURM:-}"
        gpu_cmd="srun --ntasks=1 --gpus=$ngpu --cpus-per-task=$((ngpu > 0 ? 4 * ngpu : nj)) ${SPEECHLM_SLURM:-}" ;;
    *)
        echo "cmd.sh: SPEECHLM_CMD is '$SPEECHLM_CMD', expected local or slurm." >&2
        exit 2 ;;
esac
