#!/usr/bin/env bash
# Health checks of VIPs, by the tunnel to each backend and through the port that DPDK owns: health_vip.sh [gre|ipip|gue|dsr ...], all
# four without arguments. The balancer has no other way to the servers. A server without the VIP, without the tunnel's
# end, or without its program is found out, and the reason says so; doctor names the server without the VIP, and the MTU.
set -u
. "$(dirname "$0")/lib.sh"

if [ $# != 1 ]; then
    [ $# -gt 0 ] || set -- gre ipip gue dsr
    for mode in "$@"; do
        "$0" "$mode" || exit
    done
    exit 0
fi

mode=$1
tg_require
tg_init health_vip
TUNNEL_PID_s2=""
tg_layout one-arm "$mode"
ip -n "$(tg_ns balancer)" link del mgmt
# The kernel sees a copy of the frames on an AF_PACKET port, and must leave them to the host's end of it.
tg_sysctl balancer net.ipv4.conf.net.rp_filter=1
TG_PORTS=${TG_PORTS/name = \"net\"/name = \"net\"
host = \"on\"}

# Of TCP by HTTP, of UDP by an empty datagram, which the servers send back.
tg_config "$TG_DIR/config.toml" 2
{
    tg_service web4 "$VIP4" "$mode" maglev tcp "$TG_BACKENDS4"
    tg_service web6 "$VIP6" "$mode" maglev tcp "$TG_BACKENDS6"
    tg_service udp4 "$VIP4" "$mode" maglev udp "$TG_BACKENDS4" | sed -e 's/^type = "http"/type = "udp"/' -e '/^path = /d'
    tg_service udp6 "$VIP6" "$mode" maglev udp "$TG_BACKENDS6" | sed -e 's/^type = "http"/type = "udp"/' -e '/^path = /d'
    # The servers answer pings on their own addresses, whatever becomes of the VIP.
    tg_service pinged "$VIP4" "$mode" maglev tcp "$TG_BACKENDS4" |
        sed -e '1,/^port = /s/^port = .*/port = 81/' -e '/^\[service.health\]/,/^interval/{/^port = /d}' -e 's/^type = "http"/type = "ping"/' -e '/^path = /d'
} >>"$TG_DIR/config.toml"
start_servers
tg_start "$TG_DIR/config.toml"

show() { "$TIDEGATE" --socket "$TG_SOCKET" show backends --json; }

# await_state SERVICE/BACKEND STATE "START OF THE REASON" "ITS END": 10 seconds at most.
await_state() {
    local said="" start=$SECONDS
    while [ $((SECONDS - start)) -lt 10 ]; do
        said=$(field "$(show)" "[b['state'] + ' ' + b['reason'] for b in r['backends'] if b['service'] + '/' + b['name'] == '$1'][0]")
        case $said in
        "$2 health check: $3"*"$4")
            tg_step "$1: $said"
            return
            ;;
        esac
        sleep 0.1
    done
    tg_fail "$1 is '$said' after 10 seconds, not '$2 health check: $3...$4'"
}

# check_left VIP "SERVERS": clients are answered by these servers and no other.
check_left() {
    local result
    result=$(load "$1" 100)
    [ "$(field "$result" "str(r['ok']) + ' ' + ' '.join(sorted(r['by']))")" = "100 $2" ] || tg_fail "$1: not 100 answers by $2: $result"
    tg_step "$1: 100 connections, all answered by $2"
}

# check_doctor "TEXT": a finding of doctor's, which runs where the balancer does, says so.
check_doctor() {
    local found
    found=$(ip netns exec "$(tg_ns balancer)" "$TIDEGATE" --socket "$TG_SOCKET" doctor --json)
    field "$found" "[f for f in r if '$1' in f['what']][0]['what']" >"$TG_DIR/doctor" 2>/dev/null || tg_fail "doctor does not say '$1': $found"
    tg_step "doctor: $(cat "$TG_DIR/doctor")"
}

by4="(VIP $VIP4 by $mode)" by6="(VIP $VIP6 by $mode)"
for name in s1 s2 s3; do
    await_state "web4/$name" up "status 200" "$by4"
    await_state "web6/$name" up "status 200" "$by6"
    await_state "udp4/$name" up "answers" "$by4"
    await_state "udp6/$name" up "answers" "$by6"
    await_state "pinged/$name" up "answers pings" ""
done
[ "$(field "$("$TIDEGATE" --socket "$TG_SOCKET" show connections --json)" "len(r['connections'])")" = 0 ] ||
    tg_fail "the checks are connections of clients"
check_short "$VIP4" 200
[ "$mode" = dsr ] || check_doctor "do not fit the tunnel of web4"

# ---- each way of being down ------------------------------------------------------------------------------------

ip -n "$(tg_ns s1)" addr del "$VIP4/32" dev lo || tg_fail "s1 had no VIP"
await_state web4/s1 down "timed out after 400 ms: no connection" "$by4"
await_state web6/s1 up "status 200" "$by6"
await_state pinged/s1 up "answers pings" ""
check_doctor "backend web4/s1 answers on its own address, but not on the VIP $VIP4 by $mode"
check_left "$VIP4" "s2 s3"
ip -n "$(tg_ns s1)" addr add "$VIP4/32" dev lo
await_state web4/s1 up "status 200" "$by4"

if [ "$mode" != dsr ]; then
    kill -STOP "$TUNNEL_PID_s2"
    await_state web4/s2 down "timed out after 400 ms: no connection" "$by4"
    await_state web6/s2 down "timed out after 400 ms: no connection" "$by6"
    await_state pinged/s2 up "answers pings" ""
    check_left "$VIP6" "s1 s3"
    kill -CONT "$TUNNEL_PID_s2"
    await_state web4/s2 up "status 200" "$by4"
    await_state web6/s2 up "status 200" "$by6"
fi

crash_server s3
await_state web4/s3 down "connection refused" "$by4"
await_state web6/s3 down "connection refused" "$by6"
await_state udp4/s3 down "port unreachable" "$by4"
await_state udp6/s3 down "port unreachable" "$by6"
check_left "$VIP4" "s1 s2"
start_server s3
await_state web4/s3 up "status 200" "$by4"
await_state udp6/s3 up "answers" "$by6"

tg_stop 500
echo "PASS $(basename "$0" .sh) $mode"
