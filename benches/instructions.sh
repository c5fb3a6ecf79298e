#!/usr/bin/env bash
# Instructions that each case of traffic takes on the packet path, beside those of benches/instructions.txt.
#
#   benches/instructions.sh            prints the table; exit status 1 if a case takes clearly more than recorded
#   benches/instructions.sh --write    and records the new figures
#   --no-default-features              builds without DPDK, which is no part of what is counted
#
# Callgrind counts them, so the machine and what else it does have no part in them. A packet's figure is the difference
# of two runs with different numbers of packets, so that set-up and the first packets cancel out. Cases of known connections
# are also counted beside a capture that matches nothing: `CASE+capture`.
set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C PATH="${HOME:-/}/.cargo/bin:$PATH"

recorded=benches/instructions.txt
BURSTS=32
BURST=32
# Percent that a case may take more; a few come and go with every change of the code around. Another compiler makes other code.
TOLERANCE=3
TOLERANCE_OTHER_COMPILER=15
# Percent that a capture may take which matches nothing.
CAPTURE_MAX=5
CAPTURE_FILTER="host 203.0.113.77"

give_up() {
    echo "instructions.sh: $*" >&2
    exit 1
}

write=""
features=()
for argument in "$@"; do
    case $argument in
    --write) write=1 ;;
    --no-default-features) features=("$argument") ;;
    *)
        echo "instructions.sh: unknown option $argument; there are --write and --no-default-features" >&2
        exit 2
        ;;
    esac
done

command -v valgrind >/dev/null || give_up "valgrind is missing: apt-get install valgrind"
built=$(cargo bench --quiet --bench parts "${features[@]}" --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"kind":\["bench"\].*"executable":"\([^"]*\)".*/\1/p')
[ -x "$built" ] || give_up "cargo bench --bench parts --no-run fails"
compiler=$(rustc --version | cut -d ' ' -f 1-2)

work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-instructions.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

# count CASE BURSTS: all instructions of the packet path.
count() {
    local filter=()
    case $1 in *+capture) filter=("$CAPTURE_FILTER") ;; esac
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*count::counted*' \
        "$built" count "${1%+capture}" "$2" "${filter[@]}" 2>&1 |
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p'
}

# measure CASE: its line of the table.
measure() {
    local once twice
    once=$(count "$1" "$BURSTS")
    twice=$(count "$1" $((2 * BURSTS)))
    [ -n "$once" ] && [ -n "$twice" ] && [ "$twice" -gt "$once" ] || give_up "$1: valgrind counts nothing"
    echo "$1 $(((twice - once + BURSTS * BURST / 2) / (BURSTS * BURST)))"
}
export -f count measure give_up
export built BURST BURSTS CAPTURE_FILTER

"$built" count >"$work/cases" || give_up "$built count fails"
sed -n '/-new$/!s/$/+capture/p' "$work/cases" >"$work/captures"
cat "$work/captures" >>"$work/cases"
xargs -P "$(nproc)" -I CASE bash -c "measure CASE >'$work/CASE'" <"$work/cases" || exit 1
while read -r name; do cat "$work/$name"; done <"$work/cases" >"$work/figures"

[ -e "$recorded" ] || echo "# nothing yet" >"$recorded" || exit 1
was=$(sed -n 's/^# compiler: //p' "$recorded")
limit=$TOLERANCE
if [ "$was" != "$compiler" ]; then
    limit=$TOLERANCE_OTHER_COMPILER
    echo "The recorded figures are of '${was:-no compiler}', this is $compiler: up to $limit % more are let pass."
fi
status=0
awk -v limit="$limit" -v capture_max="$CAPTURE_MAX" '
    BEGIN { printf "%-22s %12s %10s %9s\n", "case", "instructions", "recorded", "change" }
    NR == FNR { if (!/^#/) was[$1] = $2; next }
    { is[$1] = $2 }
    !($1 in was) { printf "%-22s %12d %10s %9s  NOT RECORDED\n", $1, $2, "-", "-"; failed = 1; next }
    {
        change = 100 * ($2 - was[$1]) / was[$1]
        plain = $1
        beside = sub(/\+capture$/, "", plain) ? 100 * ($2 - is[plain]) / is[plain] : 0
        word = change > limit ? "  MORE" : (change < -limit ? "  less: record it with --write" : "")
        if (beside > capture_max) word = word "  A CAPTURE COSTS TOO MUCH"
        printf "%-22s %12d %10d %+8.1f%%%s\n", $1, $2, was[$1], change, word
        if (change > limit || beside > capture_max) failed = 1
        delete was[$1]
    }
    END { for (name in was) { print name " is recorded, but no case"; failed = 1 } exit failed }
' "$recorded" "$work/figures" || status=1

if [ -n "$write" ]; then
    {
        echo "# Instructions a packet by case, written by benches/instructions.sh --write."
        echo "# compiler: $compiler"
        cat "$work/figures"
    } >"$recorded" || exit 1
    exit 0
fi
[ "$status" = 0 ] || give_up "more than $limit % above $recorded, or $CAPTURE_MAX % for a capture, or other cases; if that is meant: benches/instructions.sh --write"
