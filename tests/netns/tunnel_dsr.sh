#!/usr/bin/env bash
# IPIP and GUE with direct server return: tunnel_dsr.sh [ipip|gue ...], both without arguments. All four combinations of inner
# and outer family, and both ways to treat packets that do not fit: the client is told, or the tunnel's packets go in pieces.
set -u
. "$(dirname "$0")/lib.sh"

if [ $# != 1 ]; then
    [ $# -gt 0 ] || set -- ipip gue
    for mode in "$@"; do
        "$0" "$mode" || exit
    done
    exit 0
fi

mode=$1
tg_require ping
tg_init tunnel_dsr
tg_layout one-arm "$mode"

# configuration FILE POLICY "BACKENDS OF THE IPv4 VIP" "BACKENDS OF THE IPv6 VIP"
configuration() {
    tg_config "$1" 2
    {
        tg_service web4 "$VIP4" "$mode" maglev tcp "$3"
        tg_service web6 "$VIP6" "$mode" maglev tcp "$4"
        tg_service udp4 "$VIP4" "$mode" maglev udp "$3"
        tg_service udp6 "$VIP6" "$mode" maglev udp "$4"
    } | sed "s/^mode = .*/&\nmtu_policy = \"$2\"/" >>"$1"
}
configuration "$TG_DIR/first.toml" signal "$TG_BACKENDS4" "$TG_BACKENDS6"
configuration "$TG_DIR/crossed.toml" fragment "$TG_BACKENDS6" "$TG_BACKENDS4"

start_servers
tg_start "$TG_DIR/first.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 30 3
    check_short "$vip" 300
    check_short "$vip" 100 --udp
    check_big "$vip"
    check_upload "$vip"
done
check_client_address "$VIP4" 10.0.0.7
check_client_address "$VIP6" fd00:a::7

"$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/crossed.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
# The client forgets what it was told, and sends full-sized packets again.
ip -n "$(tg_ns client)" route flush cache
ip -n "$(tg_ns client)" -6 route flush cache
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 30 3
    check_short "$vip" 200
    check_upload "$vip"
done
tg_stop 5000
python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["fragments_sent"] < 1000)' "$TG_STATS" ||
    tg_fail "the uploads did not go in pieces"
tg_step "IPv4 in an IPv6 tunnel and IPv6 in an IPv4 tunnel as well, uploads in pieces"
echo "PASS $(basename "$0" .sh) $mode"
