#!/usr/bin/env bash
# What becomes of backends, with real servers: backends.sh [nat|full-nat|gre|ipip|gue|dsr ...], all of them without arguments. In every
# mode a killed backend is out of rotation in the time that its health check promises. Through NAT also: drains by command with
# downloads that survive, commands kept over a restart, a server that hangs, a backup that takes over, a server that flaps,
# one that does not answer clients, and one that a reload removes.
set -u
. "$(dirname "$0")/lib.sh"

if [ $# != 1 ]; then
    [ $# -gt 0 ] || set -- nat full-nat gre ipip gue dsr
    for mode in "$@"; do
        "$0" "$mode" || exit
    done
    exit 0
fi

mode=$1
tg_require
tg_init backends
SERVER_PID_s2=""
case $mode in
nat | full-nat) tg_layout two-arm nat ;;
*) tg_layout one-arm "$mode" ;;
esac

# service "MORE KEYS OF [[service]]" [s3's MORE KEYS]: three backends; a check is over 0.4 s after its start, two in 0.5 s decide.
service() {
    local keys=$1 last=${2:-}
    [ "$mode" != full-nat ] || keys="local_addresses = [\"10.1.0.200\"]\n$keys"
    tg_service web "$VIP4" "$mode" maglev tcp "$TG_BACKENDS4" | sed -e "s/^scheduler = .*/&\n$keys/" -e "s/^flap_hold = .*/flap_hold = 4/"
    printf '%b\n' "$last"
}

configuration() {
    local file=$1
    shift
    tg_config "$file" 2
    sed -i "s|^grace = .*|grace = 0|; s|^state_file = .*|state_file = \"$TG_DIR/state/state.json\"|" "$file"
    service "$@" >>"$file"
}

command() { "$TIDEGATE" --socket "$TG_SOCKET" "$@"; }

# backend NAME EXPRESSION: of its row in `show backends`, as Python sees it.
backend() { field "$(command show backends --json)" "[$2 for b in r['backends'] if b['name'] == '$1'][0]"; }

# await NAME STATE "PART OF THE REASON" [SECONDS]
await() {
    local start=$SECONDS said
    while :; do
        said=$(backend "$1" "b['state'] + ' ' + b['reason']")
        case $said in "$2 "*"$3"*) break ;; esac
        [ $((SECONDS - start)) -lt "${4:-10}" ] || tg_fail "$1 is '$said' after ${4:-10} s, not '$2 ...$3...'"
        sleep 0.02
    done
    tg_step "$1: $said"
}

# only "SERVERS": 60 connections, none fails, and these have answered.
only() {
    local result
    result=$(load "$VIP4" 60)
    [ "$(field "$result" "r['failed'] == 0 and ' '.join(sorted(r['by'])) == '$1'")" = True ] ||
        tg_fail "not only '$1' answer: $result"
    tg_step "60 connections, all answered, by $1"
}

logged() { grep -q "$1" "$TG_DIR/tidegate.log" || tg_fail "the log has no line '$1'"; }

# out_of_rotation NAME "PART OF THE REASON" SINCE_MS: by the log's own time within fall times interval and one timeout, and
# what a busy machine needs for it.
out_of_rotation() {
    local line took
    await "$1" down "$2"
    line=$(grep "backend web/$1 down after" "$TG_DIR/tidegate.log" | tail -n 1)
    took=$(($(date -d "${line%% *}" +%s%3N) - $3))
    [ "$took" -le 1900 ] || tg_fail "$1 was out of rotation after $took ms, not within 2 x 500 + 400 ms and half a second"
    tg_step "$1: out of rotation after $took ms, at most 1400 are promised"
}

now_ms() { date +%s%3N; }

start_servers
if [ "$mode" != nat ]; then
    configuration "$TG_DIR/config.toml" ""
    tg_start "$TG_DIR/config.toml"
    await_service "$VIP4" 30 3
    since=$(now_ms)
    crash_server s2
    out_of_rotation s2 "connection refused" "$since"
    only "s1 s3"
    start_server s2
    await s2 up "status 200"
    await_service "$VIP4" 60 3
    tg_stop 300
    echo "PASS $(basename "$0" .sh) $mode"
    exit 0
fi

# s3 waits for the others to fail.
configuration "$TG_DIR/config.toml" "on_remove = \"drain\"\ndrain_timeout = 30" 'role = "backup"'
sed -i "s/^\[service.health\]/[service.passive]\nhold = 4\n&/" "$TG_DIR/config.toml"
tg_start "$TG_DIR/config.toml"
await_service "$VIP4" 60 2
only "s1 s2"
await s3 up "backup, stands by"

# ---- a drain by command, and a restart ---------------------------------------------------------------------------

start_slow "$VIP4"
said=$(command backend drain web/s1) || tg_fail "drain fails: $said"
case $said in
"web/s1: up -> drain, by command; "*" stay"*) tg_step "backend drain web/s1: $said" ;;
*) tg_fail "backend drain says '$said'" ;;
esac
only s2
slow_runs "the drain"
finish_slow drain
status=0
said=$(command backend drain web/s9 2>&1) || status=$?
[ "$status" = 2 ] || tg_fail "an unknown backend is exit status $status, not 2: $said"
echo "$said" | grep -q "did you mean web/s1?" || tg_fail "no hint: $said"
command backend weight 10.1.0.12:80 7 >>"$TG_DIR/command.log" || tg_fail "weight fails"
tg_stop 100
tg_start "$TG_DIR/config.toml"
logged "2 backends differ from the file by command: web/s1 drain, the file says up; web/s2 weight 7, the file says 100"
await s1 drain "by command, the file says up"
await_service "$VIP4" 60 1
only s2
tg_step "after a restart: $(grep -o '2 backends differ.*' "$TG_DIR/tidegate.log" | tail -n 1)"
command backend up web/s1 >>"$TG_DIR/command.log" || tg_fail "up fails"
command backend reset web/s2 >>"$TG_DIR/command.log" || tg_fail "reset fails"
[ "$(field "$(cat "$TG_DIR/state/state.json")" "r['backends']")" = "{}" ] || tg_fail "the state file still has commands"
await s1 up "status 200"
only "s1 s2"

# ---- killed, hung, and who takes over ----------------------------------------------------------------------------

since=$(now_ms)
crash_server s1
out_of_rotation s1 "connection refused" "$since"
only s2
since=$(now_ms)
kill -STOP "$SERVER_PID_s2"
out_of_rotation s2 "no answer" "$since"
only s3
logged "service web: no primary backend takes connections after .*: 1 backup now"
await s3 up "backup, takes connections"
start_slow "$VIP4"
kill -CONT "$SERVER_PID_s2"
start_server s1
await s1 up "status 200"
await s2 up "status 200"
only "s1 s2"
finish_slow "the return of the others"
logged "service web: primary backends take connections again after"

# ---- one that flaps ------------------------------------------------------------------------------------------------

# It has been down once already.
for number in 1 2; do
    kill -STOP "$SERVER_PID_s2"
    await s2 down ""
    kill -CONT "$SERVER_PID_s2"
    [ "$number" = 2 ] || await s2 up "status 200"
done
await s2 down "flapping: down 3 times in a minute, held for 4 s"
only s1
await s2 up "status 200" 8

# ---- one that is well for its checks and deaf for clients -----------------------------------------------------------

ip -n "$(tg_ns s2)" route add blackhole 10.0.0.7/32 || tg_fail "the kernel has no blackhole routes"
result=$(load "$VIP4" 120 --timeout 1)
[ "$(field "$result" "r['failed'] > 20")" = True ] || tg_fail "s2 is deaf for nobody: $result"
await s2 down "passive check: " 5
only s1
logged "backend web/s2 held down: passive check: "
ip -n "$(tg_ns s2)" route del blackhole 10.0.0.7/32
await s2 up "status 200" 8

# ---- one that a reload removes -----------------------------------------------------------------------------------

sed '/^\[\[service.backend\]\]/{N;/name = "s2"/{N;N;d}}' "$TG_DIR/config.toml" >"$TG_DIR/fewer.toml"
start_slow "$VIP4"
command reload "$TG_DIR/fewer.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
if echo "$SLOW_SERVERS" | grep -q s2; then
    grep -q "backend web/s2 is removed and drains: " "$TG_DIR/reload.log" || tg_fail "the reload does not say that s2 drains"
    await s2 drain "removed by reload"
fi
slow_runs "the reload"
only s1
finish_slow "the removal"
count=0
while [ "$(field "$(command show backends --json)" "len(r['backends'])")" != 2 ]; do
    count=$((count + 1))
    # A closed connection is forgotten after 10 s (tcp_fin), and the counters are looked at once a second.
    [ "$count" -lt 150 ] || tg_fail "s2 is still there 15 s after its last connection"
    sleep 0.1
done
tg_step "s2 is gone with its last connection"
tg_stop 10000
echo "PASS $(basename "$0" .sh) $mode"
