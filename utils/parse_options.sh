# shellcheck shell=bash
# Command-line options for a script, made from the variables that it declares. Source it after them:
#
#     # Trains a model. (The first comment block is printed by --help.)
#     ## Folders                     <- a heading in --help
#     expdir=exp      # where models go
#     nj=4            # number of parallel jobs
#     . "$root/utils/parse_options.sh"
#
# Every line `name=value   # help` above the sourcing line declares an option; its help goes on in lines that are
# indented comments. A variable without a help comment is private. `--name value`, `--name=value` and `--na-me value`
# are the same. An option that is not declared is refused with the nearest ones; a true/false or whole-number option
# takes only such a value. Words that belong to no option are refused; where they mean something, set po_words=1 before
# sourcing: they stay in "$@".
#
# With `po_files_of_preset=conf/%s/options` set before sourcing, `--preset tiny` also stands for the options that
# conf/tiny/options holds, if there is such a file: those that follow on the command line count more.
#
# A value of several words is made an array by `lists NAME`: spaces separate, quotes and backslashes keep them together,
# as in a shell ("one '/data/Two Words'"), and nothing else happens: no variable, command or pattern is expanded.

po_script=${BASH_SOURCE[1]}
po_last_line=${BASH_LINENO[0]}
po_names=()           # declared names, in order
declare -A po_defaults po_helps

po_declare() {        # read the declarations of the sourcing script
    local text name=
    while IFS= read -r text; do
        if [[ $text =~ ^([a-z][a-z0-9_]*)=.*[[:space:]]\#[[:space:]](.*)$ ]]; then
            name=${BASH_REMATCH[1]}
            po_names+=("$name")
            po_helps[$name]=${BASH_REMATCH[2]}
            po_defaults[$name]=${!name}
        elif [ -n "$name" ] && [[ $text =~ ^[[:space:]]+\#[[:space:]](.*)$ ]]; then
            po_helps[$name]+=" ${BASH_REMATCH[1]}"
        else
            name=
        fi
    done < <(head -n "$po_last_line" "$po_script")
}

po_show_help() {      # the script's first comment block, then each option with its value and help
    local text name started=
    while IFS= read -r text; do
        case $text in
            '#!'*) ;;
            '#'*) started=1; text=${text#\#}; echo "${text# }" ;;
            *) [ -z "$started" ] || break ;;
        esac
    done < "$po_script"
    printf '\nOptions (current value in brackets):\n'
    while IFS= read -r text; do
        if [[ $text == '## '* ]]; then
            printf '\n%s\n' "${text#'## '}"
        elif [[ $text =~ ^([a-z][a-z0-9_]*)=.*[[:space:]]\#[[:space:]] ]]; then
            name=${BASH_REMATCH[1]}
            printf '  --%-20s %s [%s]\n' "$name" "${po_helps[$name]}" "${!name}"
        fi
    done < <(head -n "$po_last_line" "$po_script")
}

po_fail() {
    echo "${po_script##*/}: $1" >&2
    exit 2
}

po_nearest() {        # the declared names at the smallest edit distances from $1, at most three
    printf '%s\n' "${po_names[@]}" | awk -v want="$1" '
        function min(a, b) { return a < b ? a : b }
        function distance(a, b,    i, j, row, left, above) {
            for (j = 0; j <= length(b); j++) row[j] = j
            for (i = 1; i <= length(a); i++) {
                above = row[0]; row[0] = i
                for (j = 1; j <= length(b); j++) {
                    left = min(row[j] + 1, row[j - 1] + 1)
                    left = min(left, above + (substr(a, i, 1) != substr(b, j, 1)))
                    above = row[j]; row[j] = left
                }
            }
            return row[length(b)]
        }
        { d = distance(want, $1)
          if (index($1, want) || index(want, $1)) d = min(d, 2)
          if (d <= 2 + length(want) / 4) print d, "--" $1 }' | sort -s -n -k1,1 | head -n 3 | cut -d' ' -f2
}

po_check_name() {
    local near
    [ -z "${po_defaults[$1]+set}" ] || return 0
    near=$(po_nearest "$1" | paste -sd' ')
    po_fail "there is no option --$1.${near:+ Nearest: $near.} --help lists all options."
}

po_check_value() {     # po_check_value NAME VALUE
    local default=${po_defaults[$1]}
    if [[ $default =~ ^(true|false)$ && ! $2 =~ ^(true|false)$ ]]; then
        po_fail "--$1 takes true or false, found '$2'."
    elif [[ $default =~ ^[0-9]+$ && ! $2 =~ ^[0-9]+$ ]]; then
        po_fail "--$1 takes a whole number, found '$2'."
    fi
}

po_is_option() {      # true if $1 is one of our options, hence not a value
    local name=${1%%=*}
    [[ $name == --* ]] || return 1
    name=${name#--}
    [ -n "$name" ] && [ -n "${po_defaults[${name//-/_}]+set}" ]
}

words_of() {          # words_of NAME VALUE: sets the array `words`
    if [[ $2 != *[\'\"\\]* ]]; then read -rd '' -a words < <(printf '%s' "$2") || true; return; fi
    printf '%s\n' "$2" | xargs true 2>/dev/null || po_fail "--$1: a quote is not closed in: $2"
    mapfile -d '' -t words < <(printf '%s\n' "$2" | xargs -r printf '%s\0')
}

lists() {             # lists NAME...: each of these variables becomes the array of its words
    local po_list words
    for po_list in "$@"; do
        local -n po_array=$po_list
        words_of "$po_list" "$po_array"
        po_array=("${words[@]}")
        unset -n po_array
    done
}

po_declare
while [[ $# -gt 0 && $1 == -* ]]; do
    case $1 in
        -h | --help) po_show_help; exit 0 ;;
        --*=*) po_name=${1%%=*}; po_value=${1#*=}; po_shift=1 ;;
        --?*) po_name=$1; po_value=${2-}; po_shift=2 ;;
        *) po_fail "'$1' is not an option: options have the form --name value. --help lists them." ;;
    esac
    po_name=${po_name#--}
    po_name=${po_name//-/_}
    [[ $po_name =~ ^[a-zA-Z0-9_]+$ ]] ||
        po_fail "'$1' is not an option: options have the form --name value. --help lists them."
    po_check_name "$po_name"
    if [ "$po_shift" -eq 2 ] && { [ $# -lt 2 ] || po_is_option "$2"; }; then
        po_fail "--$po_name needs a value: --$po_name VALUE (${po_helps[$po_name]}).\
 For a value that begins with --, write --$po_name=--VALUE."
    fi
    po_check_value "$po_name" "$po_value"
    if [[ ${po_defaults[$po_name]} =~ ^[0-9]+$ ]]; then po_value=$((10#$po_value)); fi      # 08 is no octal number
    printf -v "$po_name" '%s' "$po_value"
    shift "$po_shift"
    po_file=po_files_of_$po_name
    if [ -n "${!po_file-}" ]; then
        po_file=${!po_file/'%s'/"$po_value"}
        if [ -f "$po_file" ]; then words_of "$po_name" "$(grep -v '^ *#' "$po_file")"; set -- "${words[@]}" "$@"; fi
    fi
done
[ $# -eq 0 ] || [ -n "${po_words-}" ] ||
    po_fail "'$1' is not an option: options have the form --name value, and a value with spaces needs quotes.\
 --help lists them."
