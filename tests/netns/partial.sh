#!/usr/bin/env bash
# A client whose device leaves checksums to a NIC: tidegate forwards its packets as they are, and says what is wrong.
set -u
. "$(dirname "$0")/lib.sh"

tg_require
tg_init partial
tg_layout two-arm nat
tg_config "$TG_DIR/tidegate.toml" 1
tg_service web4 "$VIP4" nat maglev tcp "$TG_BACKENDS4" >>"$TG_DIR/tidegate.toml"
start_servers
tg_start "$TG_DIR/tidegate.toml"
await_service "$VIP4" 30 3
grep -q "partial TCP" "$TG_DIR/tidegate.log" && tg_fail "partial checksums are named though there are none"

# Any device on the way that does not leave them to others would put them right.
checksums_left_out() {
    on client ethtool -K eth0 tx "$1" >/dev/null && on switch ethtool -K balancer-wan tx "$1" >/dev/null ||
        tg_fail "veth devices do not take tx $1"
}
checksums_left_out on
result=$(load "$VIP4" 5 --timeout 1)
[ "$(field "$result" "r['failed']")" = 5 ] || tg_fail "connections with partial checksums succeed: $result"
count=0
until grep -q "warning: port wan: packets come with partial .*ethtool -K DEV tx off" "$TG_DIR/tidegate.log" ||
    grep -q "WARN.*port wan: packets come with partial .*ethtool -K DEV tx off" "$TG_DIR/tidegate.log"; do
    count=$((count + 1))
    [ "$count" -lt 50 ] || tg_fail "the log does not name partial checksums"
    sleep 0.1
done
workers=$("$TIDEGATE" --socket "$TG_SOCKET" show workers --json)
# One packet a burst is looked at, and connections that begin at once may share one.
[ "$(field "$workers" "sum(w['partial_checksums'] for w in r['workers']) >= 1")" = True ] ||
    tg_fail "partial checksums are not counted: $workers"
tg_step "partial checksums: counted, and named with the port and the cure"

checksums_left_out off
await_service "$VIP4" 30 3
[ "$(grep -c "partial TCP or UDP checksums" "$TG_DIR/tidegate.log")" = 1 ] || tg_fail "the warning is there more than once"
tg_step "the cure helps, and the warning comes once"
tg_stop 300
tg_pass
