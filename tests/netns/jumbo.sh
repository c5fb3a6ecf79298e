#!/usr/bin/env bash
# An MTU of 9000 from end to end: large TCP segments and datagrams through NAT.
set -u
. "$(dirname "$0")/lib.sh"

tg_require
tg_init jumbo

# Every device and bridge.
large() {
    local host device
    for host in switch client balancer router $TG_SERVERS; do
        for device in $(ip -n "$(tg_ns "$host")" -o link show 2>/dev/null | sed -n 's/^[0-9]*: \([^:@]*\)[:@].*/\1/p'); do
            [ "$device" = lo ] || ip -n "$(tg_ns "$host")" link set "$device" mtu 9000 || tg_fail "$device takes no MTU of 9000"
        done
    done
    for device in wan lan; do
        # The driver's ring must have room for such a frame, too.
        TG_PORTS=${TG_PORTS/iface=$device\"/iface=$device,framesz=10240,blocksz=20480\"$'\n'mtu = 9000}
    done
}

# check_datagrams VIP BYTES: datagrams of that size come back.
check_datagrams() {
    on client python3 - "$1" "$2" <<'PY' || tg_fail "datagrams of $2 bytes to $1 are not answered"
import socket, sys
vip, size = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in vip else socket.AF_INET
data = bytes((n * 7 + n // 256) % 256 for n in range(size))
for attempt in range(10):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((vip, 80))
        sock.send(data)
        try:
            answer = sock.recv(65536)
        except (socket.timeout, ConnectionRefusedError):
            continue
        sys.exit(0 if answer.endswith(b" " + data) else 1)
sys.exit(1)
PY
    tg_step "$1: a datagram of $2 bytes is answered"
}

tg_layout two-arm nat
large
tg_config "$TG_DIR/tidegate.toml" 2
{
    tg_service web4 "$VIP4" nat maglev tcp "$TG_BACKENDS4"
    tg_service web6 "$VIP6" nat maglev tcp "$TG_BACKENDS6"
    tg_service udp4 "$VIP4" nat maglev udp "$TG_BACKENDS4"
} >>"$TG_DIR/tidegate.toml"
start_servers
tg_start "$TG_DIR/tidegate.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_big "$vip"
    check_upload "$vip"
done
await_service "$VIP4" 30 3 --udp
# The answer has the server's name before the data.
check_datagrams "$VIP4" 8960
# The 10 MB went in segments larger than any other MTU would have let through.
stats=$("$TIDEGATE" --socket "$TG_SOCKET" show ports --json)
[ "$(field "$stats" "all(p['rx_bytes'] > 2000 * p['rx_packets'] for p in r['ports'] if p['name'] == 'lan')")" = True ] ||
    tg_fail "segments are no larger than usual: $stats"
tg_stop 2000
tg_pass
