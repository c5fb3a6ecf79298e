#!/usr/bin/env bash
# The rest to the host: the appliance's own addresses, behind ports that DPDK owns, are the kernel's: ping, a TCP server,
# and what the kernel sends by itself, beside service traffic; a flood of pings takes nothing from TCP.
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init host_path
tg_layout two-arm nat
# The kernel sees a copy of the frames on an AF_PACKET port, and must leave them to the host's end of it; that it answers
# itself shows in a TTL of its own.
tg_sysctl balancer net.ipv4.conf.wan.rp_filter=1 net.ipv4.ip_default_ttl=77 net.ipv6.conf.default.hop_limit=78
TG_PORTS=${TG_PORTS/name = \"wan\"/name = \"wan\"
host = \"on\"}
OWN4=10.0.0.2 OWN6=fd00:a::2

tg_config "$TG_DIR/config.toml" 2
# Six downloads on a fast machine have more acknowledgments than the default lets through.
printf '\n[host]\nmanagement = 1_000_000\n' >>"$TG_DIR/config.toml"
tg_service web4 "$VIP4" nat maglev tcp "$TG_BACKENDS4" >>"$TG_DIR/config.toml"
tg_service web6 "$VIP6" nat maglev tcp "$TG_BACKENDS6" >>"$TG_DIR/config.toml"
start_servers python
tg_start "$TG_DIR/config.toml"
await_service "$VIP4" 60 3
await_service "$VIP6" 60 3

# ---- the kernel's device ---------------------------------------------------------------------------------------

mac_on() { ip -n "$(tg_ns balancer)" link show dev "$1" | awk '/link\/ether/ {print $2}'; }
[ "$(mac_on tg-wan)" = "$(mac_on wan)" ] || tg_fail "tg-wan has the MAC address $(mac_on tg-wan), not wan's, $(mac_on wan)"
for address in "$OWN4/24" "$OWN6/64"; do
    ip -n "$(tg_ns balancer)" addr show dev tg-wan | grep -q " $address " || tg_fail "tg-wan lacks $address"
done
# Where the kernel has an address of its own in the port's network, it must not get another one.
ip -n "$(tg_ns balancer)" link show dev tg-lan >/dev/null 2>&1 && tg_fail "lan has a host beside mgmt"
grep -q 'no host path: the kernel sees all frames of lan' "$TG_DIR/tidegate.log" || tg_fail "nothing says why lan has no host"
show() { "$TIDEGATE" --socket "$TG_SOCKET" show "$@"; }
show ports | grep -q '^wan .* tg-wan ' || tg_fail "show ports does not know tg-wan: $(show ports)"
tg_step "tg-wan has wan's MAC address and addresses; lan has none, and the reason is told"

# ---- ping ------------------------------------------------------------------------------------------------------

# ping_from HOST ADDRESS TTL [options]: five answers, each once, with this TTL.
ping_from() {
    local host=$1 address=$2 ttl=$3 answer
    shift 3
    answer=$(on "$host" ping -n -c 5 -i 0.2 -W 2 "$@" "$address") || tg_fail "no answer to ping $address: $answer"
    [ "$(echo "$answer" | grep -c "ttl=$ttl ")" = 5 ] || tg_fail "ping $address: not five answers with TTL $ttl: $answer"
    echo "$answer" | grep -q DUP && tg_fail "ping $address is answered twice: $answer"
    tg_step "ping $address $*: five answers with TTL $ttl"
}

ping_from client "$OWN4" 77
ping_from client "$OWN6" 78
# Fragments, which the kernel puts together; those of IPv4 it puts together for AF_PACKET before, up to 2 KB.
ping_from client "$OWN4" 77 -s 1900
ping_from client "$OWN6" 78 -s 4000
# A VIP is no concern of the kernel's.
ping_from client "$VIP4" 64
# The kernel speaks first, and finds its neighbour through the port.
on balancer ip neigh flush dev tg-wan
ping_from balancer 10.0.0.7 64
ping_from balancer fd00:a::7 64
entry=$(ip -n "$(tg_ns balancer)" neigh show 10.0.0.7 dev tg-wan)
case $entry in
*lladdr*) ;;
*) tg_fail "the kernel knows no neighbour on tg-wan: $entry" ;;
esac

# ---- a TCP server on the appliance -----------------------------------------------------------------------------

on_background balancer http-own python3 "$TG_LIB/http_server.py" --name appliance
tg_await_line http-own ready "$TG_LAST_PID"
for address in "$OWN4" "$OWN6"; do
    [ "$(on client curl -sS --max-time 10 "$(url "$address" /who)")" = appliance ] || tg_fail "$address does not answer"
    check_big "$address"
    check_upload "$address"
    [ "$(on client curl -sS --max-time 10 "$(url "$address" /from)")" != "" ] || tg_fail "$address sees no client"
done
# Refused, not lost: the kernel's RST comes back at once.
on client curl -sS --max-time 5 "http://$OWN4:81/" 2>"$TG_DIR/refused" && tg_fail "somebody answers on $OWN4:81"
grep -qi 'timed out' "$TG_DIR/refused" && tg_fail "port 81 is not refused: $(cat "$TG_DIR/refused")"
tg_step "a closed port is refused by the kernel"
# The other way: the kernel's own connection through the port.
on_background client http-client python3 "$TG_LIB/http_server.py" --name client
tg_await_line http-client ready "$TG_LAST_PID"
[ "$(on balancer curl -sS --max-time 10 http://10.0.0.7/who)" = client ] || tg_fail "the kernel cannot connect through wan"
[ "$(on balancer curl -sS --max-time 10 'http://[fd00:a::7]/who')" = client ] || tg_fail "the kernel cannot connect through wan"
sum=$(on balancer curl -sS --fail --max-time 60 http://10.0.0.7/big | sha256sum | cut -d' ' -f1)
[ "$sum" = "$PAYLOAD_SHA256" ] || tg_fail "10 MB to the kernel arrive changed"
tg_step "the kernel's own connections leave by wan"

# ---- a flood beside it -----------------------------------------------------------------------------------------

# figure CLASS FIELD: of what went to the host.
figure() { field "$(show drops --json)" "r['host']['classes'].get('$1', {}).get('$2', 0)"; }

limited=$(figure icmp limited)
cat >"$TG_DIR/flood.py" <<'PYTHON'
"""Sends echo requests for six seconds, tens of thousands a second."""
import socket, struct, sys, time

body = bytes(56)
head = struct.pack("!BBHHH", 8, 0, 0, 7, 7)
total = sum(struct.unpack("!32H", head + body))
packet = struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, 7, 7) + body
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
end = time.monotonic() + 6
print("floods", flush=True)
while time.monotonic() < end:
    for _ in range(50):
        raw.sendto(packet, (sys.argv[1], 0))
    time.sleep(0.002)
PYTHON
on_background client flood python3 "$TG_DIR/flood.py" "$OWN4"
flood=$TG_LAST_PID
tg_await_line flood floods "$flood"
start_slow "$OWN4"
kill -0 "$flood" 2>/dev/null || tg_fail "the flood was over before the downloads began"
check_short "$VIP4" 200
finish_slow "a flood of pings"
wait "$flood" || tg_fail "the flood ended with an error"
tg_forget "$flood"
[ "$(figure icmp limited)" -gt $((limited + 1000)) ] || tg_fail "the flood was not limited: $(show drops)"
# TCP in bursts may lose a packet to its own limit, as it may to any queue.
[ $(($(figure management limited) * 100)) -le "$(figure management punts)" ] || tg_fail "TCP to the host was limited by a flood of pings: $(show drops)"
tg_step "to the host: $(figure icmp punts) ICMP, $(figure icmp limited) beyond the limit; $(figure management punts) TCP, $(figure management limited)"
ping_from client "$OWN4" 77

punts=$(field "$(show ports --json)" "r['ports'][0]['host']['to_host']")
[ "$punts" -gt 1000 ] || tg_fail "show ports says that $punts packets went to the host"
tg_stop 10000
[ "$(field "$(cat "$TG_STATS")" "r['punts'] > 1000 and r['host']['tx'] > 1000 and r['host']['tx_dropped'] == 0")" = True ] ||
    tg_fail "the stats do not have what went to the host and came from it: $(cat "$TG_STATS")"
ip -n "$(tg_ns balancer)" link show dev tg-wan >/dev/null 2>&1 && tg_fail "tg-wan is still there"
tg_step "tg-wan went with tidegate"
tg_pass
