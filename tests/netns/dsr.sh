#!/usr/bin/env bash
# Direct server return on layer 2: only the frame's MAC addresses change, the servers own the VIP; IPv4 and IPv6.
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init dsr
tg_layout one-arm dsr

configuration() {
    tg_config "$1" 1
    tg_service web4 "$VIP4" dsr maglev tcp "$TG_BACKENDS4" "$2" >>"$1"
    tg_service web6 "$VIP6" dsr maglev tcp "$TG_BACKENDS6" "$2" >>"$1"
    tg_service udp4 "$VIP4" dsr maglev udp "$TG_BACKENDS4" >>"$1"
}
configuration "$TG_DIR/first.toml" 100
configuration "$TG_DIR/second.toml" 0

start_servers
tg_start "$TG_DIR/first.toml"
await_service "$VIP4" 60 3
check_resolved 10.1.0.2 net
await_service "$VIP6" 60 3
check_resolved fd00:b::2 net
for vip in "$VIP4" "$VIP6"; do
    check_ping "$vip"
    check_short "$vip" 1000
    check_big "$vip"
    check_upload "$vip"
done
await_service "$VIP4" 30 3 --udp
check_short "$VIP4" 300 --udp
check_client_address "$VIP4" 10.0.0.7
check_client_address "$VIP6" fd00:a::7
check_crash "$VIP4"
check_reload "$VIP6" "$TG_DIR/second.toml"
tg_stop 10000
tg_pass
