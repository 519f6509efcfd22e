# shellcheck shell=bash
# Stages of a script: source it after the options `stage` and `stop_stage`, then
#
#     if want 1 "data"; then run some_command; fi
#
# and for independent parts of a stage:
#
#     run in_parallel 2 train_task "asr" "tts"
#     run run_jobs 10 dump/log/codes code_part
#
# `want` is true for the stages from $stage to $stop_stage. It announces each one, and says how long it took.
# `run` makes signals work: when the script is told to end (SIGTERM, SIGINT, SIGHUP), everything that the command
# started is sent SIGTERM (srun: SIGUSR1), on which a training saves a checkpoint, and waited for; the status is then
# 128 + the signal.

stage_name=
stage_began=0
job=                # process that `run` waits for

say() { echo "$(date '+%F %T') $*"; }

want() {
    end_stage
    [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
    stage_number=$1
    stage_name="stage $1 ($2)"
    stage_began=$SECONDS
    say "$stage_name: start"
}

end_stage() {
    [ -z "$stage_name" ] || say "$stage_name: done in $((SECONDS - stage_began)) s"
    stage_name=
}

# in_parallel N FUNCTION ITEM...: runs `FUNCTION ITEM` for every item (its words become arguments), N at a time.
# Lines of output are marked with the item's last word. Fails if one failed, after the others have ended.
in_parallel() {
    local most=$(($1 > 0 ? $1 : 1)) function=$2 item words name pids=() names=() failed=() i
    shift 2
    for item in "$@"; do
        while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do wait -n || true; done
        read -ra words <<< "$item"
        name=${words[-1]//[^[:alnum:]_.@+-]/_}
        { "$function" "${words[@]}" 2>&1 | (trap '' INT TERM HUP; exec sed -u "s|^|$name: |"); } &
        pids+=($!) names+=("$name")
    done
    for i in "${!pids[@]}"; do wait "${pids[$i]}" || failed+=("${names[$i]}"); done
    [ ${#failed[@]} -eq 0 ] || { say "failed: ${failed[*]}" >&2; return 1; }
}

# run_jobs N LOG COMMAND...: runs `COMMAND 1/N` to `COMMAND N/N` at the same time, each with its own LOG.<i>.log. Fails
# if one failed, after the others have ended, and says where its log is.
run_jobs() {
    local count=$1 log=$2 pids=() failed=() i
    shift 2
    mkdir -p "$(dirname "$log")"
    say "$count jobs, with the logs $log.*.log"
    for ((i = 1; i <= count; i++)); do
        "$@" "$i/$count" > "$log.$i.log" 2>&1 &
        pids+=($!)
    done
    for i in "${!pids[@]}"; do wait "${pids[$i]}" || failed+=("$log.$((i + 1)).log"); done
    [ ${#failed[@]} -eq 0 ] && return
    say "${#failed[@]} of $count jobs failed. Their logs: ${failed[*]}. The last lines of the first:" >&2
    tail -n 5 "${failed[0]}" >&2
    say "The same command does only what is missing." >&2
    return 1
}

run() {             # run COMMAND...: wait for it and return its status; a trap would otherwise come only after it
    local status=0
    "$@" &
    job=$!
    wait "$job" || status=$?
    job=
    return "$status"
}

descendants() {     # descendants PID: its children, their children, ...
    local child
    # shellcheck disable=SC2013     # they are words
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        echo "$child"
        descendants "$child"
    done
}

# the other processes of this script's group, if it leads one: also those whose parent the same signal has ended
group_members() {
    cat /proc/[0-9]*/stat 2>/dev/null | sed -n "/^$$ /d; / (tee) /d; s/^\([0-9]*\) (.*) [A-Z] [0-9]* $$ .*/\1/p"
}

still_running() {   # still_running PID...: is one of them alive (a zombie is not)?
    local pid
    for pid in "$@"; do
        case $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) in '' | Z* | X*) ;; *) return 0 ;; esac
    done
    return 1
}

# tell_to_end PID...: SIGTERM; but srun kills its job on that one, and passes on SIGUSR1, which means the
# same to a training
tell_to_end() {
    local pid
    for pid in "$@"; do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in
            srun) kill -USR1 "$pid" 2>/dev/null || true ;;
            *) kill -TERM "$pid" 2>/dev/null || true ;;
        esac
    done
}

stop() {            # stop NAME STATUS: end all that was started by `run`, then this script
    local pids tries
    trap '' INT TERM HUP
    if [ -n "$job" ]; then
        say "Stopped by SIG$1: ending all its processes (a training saves a checkpoint first) ..." >&2
        pids="$job $(descendants "$job") $(group_members || true)"
        trap 'kill -KILL $pids 2>/dev/null || true' INT TERM HUP      # a second signal does not wait
        # shellcheck disable=SC2086     # numbers, each a word
        tell_to_end $pids
        while still_running "$job"; do sleep 0.1; done      # `wait` inside a trap inside `wait` can hang
        for ((tries = 0; tries < 3000; tries++)); do
            # shellcheck disable=SC2086
            still_running $pids || break
            sleep 0.1
        done
    fi
    stopped=$1
    exit "$2"
}

on_exit() {
    if [ "$1" -ne 0 ] && [ -n "$stage_name" ]; then
        if [ -n "${stopped-}" ]; then
            say "$stage_name: stopped after $((SECONDS - stage_began)) s. The same command goes on from here." >&2
        else
            say "$stage_name: failed after $((SECONDS - stage_began)) s. See the error above." \
                "When it is fixed, go on with --stage $stage_number" >&2
        fi
    fi
}
trap 'on_exit $?' EXIT
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM
trap 'stop HUP 129' HUP

if [ "$stage" -gt "$stop_stage" ]; then
    echo "--stage $stage comes after --stop_stage $stop_stage: nothing to run." >&2
    exit 2
fi
