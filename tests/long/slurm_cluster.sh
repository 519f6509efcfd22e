#!/usr/bin/env -S bash -p
# Starts a Slurm cluster of several nodes on this one machine, as the current user, runs a command in it, and stops it.
#
#     apt-get install slurmctld slurmd slurm-client      # Debian's packages; their services are not used
#     tests/long/slurm_cluster.sh --count 2 sinfo
#
# The command finds srun, sbatch and scancel at work (SLURM_CONF points to the cluster). Users are trusted by their name
# (auth/none): for tests only, on a machine of one's own.
{   # read whole before anything runs: this file may change meanwhile
set -euo pipefail

count=2                     # nodes
cpus=4                      # processors that each node says it has
root=$(realpath -m "$0/../../..")
po_words=1                  # the command
. "$root/utils/parse_options.sh"
[ $# -gt 0 ] || { echo "slurm_cluster.sh: no command to run in the cluster." >&2; exit 2; }
command -v slurmctld slurmd srun > /dev/null || PATH=$PATH:/usr/sbin
command -v slurmctld slurmd srun > /dev/null ||
    { echo "slurm_cluster.sh: found no Slurm. Install it: apt-get install slurmctld slurmd slurm-client" >&2; exit 2; }

work=$(mktemp -d)
export SLURM_CONF=$work/slurm.conf
export MASTER_ADDR=127.0.0.1        # the nodes' names are not those of machines
daemons=()
stop_cluster() {
    scancel --full --user "$(id -un)" 2> /dev/null || true
    kill "${daemons[@]}" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$work"
}
trap stop_cluster EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

port=$((10000 + $$ % 20000))
ports=$((port + 2))-$((port + 1 + count))
cat > "$SLURM_CONF" << CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool.%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.%n.log
KillWait=30
InactiveLimit=0
SchedulerParameters=sched_min_interval=100000
NodeName=node[1-$count] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$ports] CPUs=$cpus State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF

mkdir "$work/state"
slurmctld -D > "$work/slurmctld.out" 2>&1 &
daemons+=($!)
for ((i = 1; i <= count; i++)); do
    mkdir "$work/spool.node$i"
    slurmd -D -N "node$i" > "$work/slurmd.$i.out" 2>&1 &
    daemons+=($!)
done
for ((tries = 0; tries < 100; tries++)); do
    [ "$(sinfo --noheader --format=%D --states=idle 2> /dev/null)" = "$count" ] && break
    sleep 0.2
done
if [ "$tries" -ge 100 ]; then
    echo "slurm_cluster.sh: the nodes did not come up:" >&2
    tail -n 20 "$work"/*.log "$work"/*.out >&2
    exit 1
fi
"$@" &
wait $!
exit
}
