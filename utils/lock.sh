# shellcheck shell=bash
# A folder that one run at a time may write to. Source it, then
#
#     lock exp || exit 2         # refused at once, with who has it
#     wait_for_lock dump         # waits, and says for whom
#     unlock dump
#
# The lock is a flock on <folder>/.lock. Children inherit it, and the kernel gives it back when the last of them has
# ended: a run that was killed but left a child writing keeps it, and one that died leaves nothing to clean up. Where
# the file system has no locks (some network ones), work goes on after a line that says so.

declare -A lock_fds

lock_open() {         # lock_open FOLDER: a file descriptor of its own for FOLDER/.lock
    local fd
    if ! mkdir -p "$1" || ! exec {fd}<>"$1/.lock"; then
        echo "${0##*/}: $1: cannot be written to. Make it writable, or name another folder." >&2
        exit 1
    fi
    lock_fds[$1]=$fd
}

lock_is_mine() {      # lock_is_mine FOLDER: has this script locked it already, perhaps by another name?
    local folder
    for folder in "${!lock_fds[@]}"; do
        if [ -n "${lock_fds[$folder]}" ] && [ "$folder" -ef "$1" ]; then return 0; fi
    done
    return 1
}

lock_note() {         # lock_note FOLDER: write down who has it
    printf 'host=%s\npid=%s\nsince=%s\ncommand=%s\n' "$HOSTNAME" "$$" "$(date '+%F %T')" "${lock_command:-$0}" \
        > "$1/.lock"
}

lock_holder() {       # lock_holder FOLDER: one line about the run that has it
    local key value host='?' pid='?' since='?' command='?' left
    while IFS='=' read -r key value; do
        case $key in host | pid | since | command) printf -v "$key" '%s' "$value" ;; esac
    done < "$1/.lock"
    echo "process $pid on $host, since $since: $command"
    if [ "$host" = "$HOSTNAME" ] && ! kill -0 "$pid" 2>/dev/null; then
        left=$(find /proc/[0-9]*/fd -lname "$(realpath "$1")/.lock" 2>/dev/null | cut -d/ -f3 |
            grep -vx -e "$$" -e "$BASHPID" | sort -un | paste -sd' ')
        echo "  That process has ended, but what it started still runs: process ${left:-?}." \
            "Wait for it, or end it with kill."
    fi
}

lock_try() {          # lock_try FOLDER: open it; false if somebody has it
    local status=0 why
    lock_open "$1"
    why=$(flock -n "${lock_fds[$1]}" 2>&1) || status=$?
    if [ "$status" -gt 1 ]; then
        echo "${0##*/}: $1: locking does not work here (${why:-flock: status $status}): do not start a second run." >&2
    fi
    [ "$status" -ne 1 ]
}

lock() {              # lock FOLDER: take it, or say who has it and return 2
    if ! lock_try "$1"; then
        echo "${0##*/}: another run is working in $1: $(lock_holder "$1")" >&2
        return 2
    fi
    lock_note "$1"
}

wait_for_lock() {     # wait_for_lock FOLDER: take it, after the run that has it; not where this user may only read
    if lock_is_mine "$1"; then return; fi
    if [ -d "$1" ] && ! : 2>/dev/null >> "$1/.lock"; then
        echo "$1: is read-only; what is complete there is used as it is."
        return
    fi
    if ! lock_try "$1"; then
        echo "Waiting for another run that is writing to $1: $(lock_holder "$1")"
        run flock "${lock_fds[$1]}"
    fi
    lock_note "$1"
}

unlock() {            # unlock FOLDER: give it back
    local fd=${lock_fds[$1]-}
    if [ -z "$fd" ]; then return; fi
    exec {fd}>&-
    lock_fds[$1]=           # not unset, which would evaluate the folder's name once more
}
