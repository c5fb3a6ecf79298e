#!/usr/bin/env bash
# Clients and servers in two VLANs of one device: NAT from one to the other, both families, TCP and UDP, two workers.
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init vlan
tg_layout two-arm nat

# In place of the two devices: a trunk to a switch that has an access port in either network.
trunk() {
    local vlan bridge
    ip -n "$(tg_ns balancer)" link del wan
    ip -n "$(tg_ns balancer)" link del lan
    ip -n "$(tg_ns balancer)" link add trunk type veth peer name trunk netns "$(tg_ns switch)" ||
        tg_fail "cannot make a veth pair"
    tg_offloads_off balancer trunk
    tg_offloads_off switch trunk
    tg_sysctl balancer net.ipv6.conf.trunk.disable_ipv6=1
    tg_sysctl switch net.ipv6.conf.trunk.disable_ipv6=1
    ip -n "$(tg_ns balancer)" link set trunk arp off up
    ip -n "$(tg_ns switch)" link set trunk up
    for vlan in 10 20; do
        [ "$vlan" = 10 ] && bridge=clients || bridge=servers
        ip -n "$(tg_ns switch)" link add "access$vlan" type veth peer name "inside$vlan" || tg_fail "cannot make a veth pair"
        ip -n "$(tg_ns switch)" link set "inside$vlan" master "$bridge" up
        tg_sysctl switch "net.ipv6.conf.access$vlan.disable_ipv6=1" "net.ipv6.conf.inside$vlan.disable_ipv6=1"
        tg_offloads_off switch "access$vlan"
        tg_offloads_off switch "inside$vlan"
        ip -n "$(tg_ns switch)" link set "access$vlan" up
    done
    on_background switch vlan-switch python3 "$TG_LIB/vlan_switch.py" trunk access10=10 access20=20
    tg_await_line vlan-switch ready "$TG_LAST_PID"
}
trunk
# shellcheck disable=SC2034 # for tg_config
TG_PORTS="
[[port]]
name = \"wan\"
device = \"${TG_VDEV}0,iface=trunk\"
vlan = 10
addresses = [\"10.0.0.2/24\", \"fd00:a::2/64\"]

[[port]]
name = \"lan\"
device = \"${TG_VDEV}0,iface=trunk\"
vlan = 20
addresses = [\"10.1.0.1/24\", \"fd00:b::1/64\"]
"
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
    check_ping "$vip"
    check_short "$vip" 200
    check_big "$vip"
    check_upload "$vip"
done
await_service "$VIP4" 30 3 --udp
check_client_address "$VIP4" 10.0.0.7

ports=$("$TIDEGATE" --socket "$TG_SOCKET" show ports --json)
[ "$(field "$ports" "[(p['name'], p['vlan'], p['rx_packets'] > 0) for p in r['ports']]")" = \
    "[('wan', 10, True), ('lan', 20, True)]" ] || tg_fail "show ports has not both ports of the device: $ports"
neighbors=$("$TIDEGATE" --socket "$TG_SOCKET" show neighbors --json)
[ "$(field "$neighbors" "sorted({n['port'] for n in r['neighbors'] if n['mac']})")" = "['lan', 'wan']" ] ||
    tg_fail "neighbours are not learnt on both VLANs: $neighbors"
tg_step "one device is shown as two ports, each with its neighbours"
tg_stop 2000
tg_pass
