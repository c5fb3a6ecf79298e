#!/usr/bin/env bash
# Datagrams in fragments, cut and put together by the kernels of clients and servers: NAT in both families, there and back,
# and GRE, two workers. Not on AF_PACKET, as DPDK has the kernel put IPv4 fragments together before it takes them from there.
set -u
. "$(dirname "$0")/lib.sh"

tg_require
tg_init fragments
tg_layout one-arm nat+gre
TG_PORTS=${TG_PORTS/"${TG_VDEV}0,iface=net"/"net_pcap0,rx_iface_in=net,tx_iface=net"}

tg_config "$TG_DIR/first.toml" 2
{
    tg_service udp4 "$VIP4" nat maglev udp "$TG_BACKENDS4"
    tg_service udp6 "$VIP6" nat maglev udp "$TG_BACKENDS6"
    tg_service gre4 "$GRE_VIP4" gre maglev udp "$TG_BACKENDS4"
} >>"$TG_DIR/first.toml"

start_servers
tg_start "$TG_DIR/first.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 30 3 --udp
    check_fragments "$vip"
done
# What the client cuts must fit the tunnel.
client_mtu 1400
await_service "$GRE_VIP4" 30 3 --udp
check_fragments "$GRE_VIP4"
tg_stop 3000
tg_pass
