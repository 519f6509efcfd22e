# Stages of a script: source it after the options `stage` and `stop_stage`, then
#
#     if want 1 "data"; then ...; fi
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

on_exit() {
    if [ "$1" -ne 0 ] && [ -n "$stage_name" ]; then
        say "$stage_name: failed after $((SECONDS - stage_began)) s. The error stands above." \
            "When it is mended, go on with --stage $stage_number" >&2
    fi
}
trap 'on_exit $?' EXIT

[ "$stage" -le "$stop_stage" ] || { echo "--stage $stage comes after --stop_stage $stop_stage: nothing to run." >&2; exit 2; }
