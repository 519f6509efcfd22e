# Stages of a script: source it after the options `stage` and `stop_stage`, then
#
#     if want 1 "data"; then ...; fi
#
# and for independent parts of a stage: in_parallel 2 train_task "asr" "tts"
#
# `want` is true for the stages from $stage to $stop_stage. It announces each one, and says how long it took.

stage_name=
stage_began=0

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
    local most=$1 function=$2 item pids=() names=() failed=() i
    shift 2
    for item in "$@"; do
        while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do wait -n || true; done
        # shellcheck disable=SC2086  # an item may have several words
        { $function $item 2>&1 | sed -u "s|^|${item##* }: |"; } &
        pids+=($!) names+=("${item##* }")
    done
    for i in "${!pids[@]}"; do wait "${pids[$i]}" || failed+=("${names[$i]}"); done
    [ ${#failed[@]} -eq 0 ] || { say "failed: ${failed[*]}" >&2; return 1; }
}

on_exit() {
    if [ "$1" -ne 0 ] && [ -n "$stage_name" ]; then
        say "$stage_name: failed after $((SECONDS - stage_began)) s. The error stands above." \
            "When it is mended, go on with --stage $stage_number" >&2
    fi
}
trap 'on_exit $?' EXIT

[ "$stage" -le "$stop_stage" ] || { echo "--stage $stage comes after --stop_stage $stop_stage: nothing to run." >&2; exit 2; }
