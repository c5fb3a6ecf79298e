#!/usr/bin/env bash
# GRE with direct server return, all four combinations of inner and outer family, TCP and UDP, two workers.
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init gre_dsr
tg_layout one-arm gre

# The second file also moves both families onto the other family's tunnel.
configuration() {
    tg_config "$1" 2
    tg_service web4 "$VIP4" gre maglev tcp "$3" "$2" >>"$1"
    tg_service web6 "$VIP6" gre maglev tcp "$4" "$2" >>"$1"
    tg_service udp4 "$VIP4" gre maglev udp "$TG_BACKENDS4" >>"$1"
    tg_service udp6 "$VIP6" gre maglev udp "$TG_BACKENDS6" >>"$1"
}
configuration "$TG_DIR/first.toml" 100 "$TG_BACKENDS4" "$TG_BACKENDS6"
configuration "$TG_DIR/weight.toml" 0 "$TG_BACKENDS4" "$TG_BACKENDS6"
configuration "$TG_DIR/crossed.toml" 100 "$TG_BACKENDS6" "$TG_BACKENDS4"

start_servers
tg_start "$TG_DIR/first.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_resolved "$vip" net
    check_ping "$vip"
    check_short "$vip" 1000
    check_big "$vip"
    check_upload "$vip"
    await_service "$vip" 30 3 --udp
    check_short "$vip" 300 --udp
done
check_client_address "$VIP4" 10.0.0.7
check_client_address "$VIP6" fd00:a::7
check_crash "$VIP4"
check_crash "$VIP6"
check_reload "$VIP4" "$TG_DIR/weight.toml"

"$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/crossed.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_short "$vip" 300
    check_big "$vip"
    check_upload "$vip"
done
tg_step "IPv4 in an IPv6 tunnel and IPv6 in an IPv4 tunnel as well"
tg_stop 12000
tg_pass
