#!/usr/bin/env bash
# NAT between two ports, IPv4 and IPv6, TCP and UDP, two workers behind one queue each: replies reach the worker that
# does not own their connection, so this holds the handover too. Real nginx servers where it is installed.
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init nat_two_arm
tg_layout two-arm nat
kind=python
command -v nginx >/dev/null && kind=nginx

# nginx has no datagram echo, so UDP has its own pass below with the other servers.
configuration() {
    tg_config "$1" 2
    tg_service web4 "$VIP4" nat maglev tcp "$TG_BACKENDS4" "$2" >>"$1"
    tg_service web6 "$VIP6" nat maglev tcp "$TG_BACKENDS6" "$2" >>"$1"
    tg_service udp4 "$VIP4" nat maglev udp "$TG_BACKENDS4" >>"$1"
    tg_service udp6 "$VIP6" nat maglev udp "$TG_BACKENDS6" >>"$1"
}
configuration "$TG_DIR/first.toml" 100
configuration "$TG_DIR/second.toml" 0

start_servers "$kind"
tg_start "$TG_DIR/first.toml"
tg_step "servers: $kind"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_resolved "$vip" wan
    check_ping "$vip"
    check_short "$vip" 1000
    check_big "$vip"
done
check_crash "$VIP4" "$kind"
check_crash "$VIP6" "$kind"

for name in $TG_SERVERS; do
    crash_server "$name"
    start_server "$name" python
done
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_upload "$vip"
    await_service "$vip" 30 3 --udp
    check_short "$vip" 300 --udp
done
check_client_address "$VIP4" 10.0.0.7
check_client_address "$VIP6" fd00:a::7
check_reload "$VIP4" "$TG_DIR/second.toml"
sed '/^name = "web[46]"/a echo = "backend"' "$TG_DIR/second.toml" >"$TG_DIR/third.toml"
"$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/third.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload to echo fails"
for vip in "$VIP4" "$VIP6"; do
    check_ping_through "$vip"
done
tg_stop 30000
tg_pass
