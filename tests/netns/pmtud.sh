#!/usr/bin/env bash
# Path MTU discovery with real TCP over narrow links: pmtud.sh [nat|nat-two-arm|full-nat|gre|ipip|gue|dsr ...], all of them
# without arguments.
#
# The last link to the client is narrow (1400 bytes, IPv6 1300), and in the tunnels, `full-nat` and `nat-two-arm` also the one
# to the backends (1350, 1340), each behind a router, whose errors have to reach the right end through tidegate; in `full-nat`
# from one IP version to the other as well. Nobody guesses: TCP does not probe for black holes here, so a lost error is a
# connection that stands still.
set -u
. "$(dirname "$0")/lib.sh"

if [ $# != 1 ]; then
    [ $# -gt 0 ] || set -- nat nat-two-arm full-nat gre ipip gue dsr
    for mode in "$@"; do
        "$0" "$mode" || exit
    done
    exit 0
fi

CLIENT4=10.0.0.7 CLIENT6=fd00:a::7
MTU4=1400 MTU6=1300
FAR_MTU4=1350 FAR_MTU6=1340
LOCAL4=10.1.0.200 LOCAL6=fd00:b::200

# narrow ROUTER ADDRESS DEVICE MTU: what the router may send to one host. Locked, because else the kernel minds only the
# device's own MTU when it forwards IPv6.
narrow() {
    case $2 in
    *:*) tg_route "$1" "$2/128" dev "$3" mtu lock "$4" ;;
    *) tg_route "$1" "$2/32" dev "$3" mtu lock "$4" ;;
    esac
}

# far ROUTER DEVICE: the backends get addresses on another network behind ROUTER, over narrow links.
far() {
    local router=$1 device=$2 host number=10 via4=10.1.0.$3 via6=fd00:b::$4
    tg_bridge far
    tg_attach "$router" "$device" far 10.2.0.254/24 fd00:c::fe/64
    tg_sysctl "$router" "net.ipv4.conf.$device.send_redirects=0"
    for host in $TG_SERVERS; do
        number=$((number + 1))
        tg_attach "$host" eth1 far "10.2.0.$number/24" "fd00:c::$number/64"
        narrow "$router" "10.2.0.$number" "$device" "$FAR_MTU4"
        narrow "$router" "fd00:c::$number" "$device" "$FAR_MTU6"
    done
    # For the health checks.
    tg_route balancer 10.2.0.0/24 via "$via4" dev mgmt
    tg_route balancer fd00:c::/64 via "$via6" dev mgmt
    FAR4="10.2.0.11 10.2.0.12 10.2.0.13"
    FAR6="fd00:c::11 fd00:c::12 fd00:c::13"
}

flush_paths() {
    local host
    for host in client $TG_SERVERS; do
        ip -n "$(tg_ns "$host")" route flush cache
        ip -n "$(tg_ns "$host")" -6 route flush cache
    done
}

# The MTU that HOST has learned for packets to ADDRESS; nothing if none.
learned() {
    ip -n "$(tg_ns "$1")" route get "$2" | sed -n 's/.*expires [0-9]*sec mtu \([0-9]*\).*/\1/p'
}

# check_download VIP CLIENT MTU: full-sized packets towards the client, or whom the servers take for it. The server of this
# connection must have learned what the narrow link takes, and it alone.
check_download() {
    local vip=$1 client=$2 mtu=$3 sum server host got start=$SECONDS
    flush_paths
    on client curl -sS --fail --max-time 20 -D "$TG_DIR/head" -o "$TG_DIR/big" "$(url "$vip" /big)" ||
        tg_fail "the download from $vip through a link of $mtu bytes stands still"
    sum=$(sha256sum <"$TG_DIR/big" | cut -d' ' -f1)
    [ "$sum" = "$PAYLOAD_SHA256" ] || tg_fail "the download from $vip arrives changed: $sum"
    server=$(tr -d '\r' <"$TG_DIR/head" | sed -n 's/^X-Server: //p')
    for host in $TG_SERVERS; do
        got=$(learned "$host" "$client")
        if [ "$host" = "$server" ]; then
            [ "$got" = "$mtu" ] || tg_fail "$server serves $vip and has learned '$got' instead of $mtu"
        else
            [ -z "$got" ] || tg_fail "$host does not serve this connection, but was told $got"
        fi
    done
    tg_step "$vip: 10 MB from $server, which has learned $mtu, in $((SECONDS - start)) s"
}

# check_path_of_upload VIP MTU: full-sized packets towards the server; the client learns MTU, or nothing has to be learned.
check_path_of_upload() {
    local vip=$1 mtu=$2 got
    flush_paths
    check_upload "$vip"
    got=$(learned client "$vip")
    [ "$got" = "$mtu" ] || tg_fail "the client has learned '$got' for $vip instead of '$mtu'"
    tg_step "$vip: the client has learned ${mtu:-nothing, and had no need to}"
}

# configuration FILE "BACKENDS OF THE IPv4 VIP" "BACKENDS OF THE IPv6 VIP"
configuration() {
    tg_config "$1" 2
    {
        tg_service web4 "$VIP4" "$mode" maglev tcp "$2"
        tg_service web6 "$VIP6" "$mode" maglev tcp "$3"
    } | if [ "$mode" = full-nat ]; then
        sed "/^scheduler/a local_addresses = [\"$LOCAL4\", \"$LOCAL6\"]"
    else
        cat
    fi >>"$1"
}

# reload "BACKENDS OF THE IPv4 VIP" "BACKENDS OF THE IPv6 VIP"
reload() {
    local vip
    configuration "$TG_DIR/next.toml" "$1" "$2"
    "$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/next.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
    for vip in "$VIP4" "$VIP6"; do
        await_service "$vip" 30 3
    done
}

# check_tunnel BYTES OVER IPv4: tidegate itself has to learn, and to tell the client what is left inside the tunnel, of which
# so many bytes are its own.
check_tunnel() {
    local over4=$1 over6=$(($1 + 20))
    check_path_of_upload "$VIP4" $((1500 - over4))
    check_path_of_upload "$VIP6" $((1500 - over6))
    far router eth2 254 fe
    reload "$FAR4" "$FAR6"
    check_path_of_upload "$VIP4" $((FAR_MTU4 - over4))
    check_path_of_upload "$VIP6" $((FAR_MTU6 - over6))
    # Again, with a client that has forgotten: this time tidegate knows.
    check_path_of_upload "$VIP4" $((FAR_MTU4 - over4))
    check_path_of_upload "$VIP6" $((FAR_MTU6 - over6))
}

mode=${1%-two-arm}
tg_require
tg_init "pmtud-$1"
backends4="10.1.0.11 10.1.0.12 10.1.0.13" backends6="fd00:b::11 fd00:b::12 fd00:b::13"
if [ "$1" = nat-two-arm ]; then
    tg_layout two-arm nat
    tg_host hop
    tg_attach hop eth0 servers 10.1.0.253/24 fd00:b::fd/64
    tg_sysctl hop net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0
    tg_route hop default via 10.1.0.1
    tg_route hop default via fd00:b::1
    far hop eth1 253 fd
    # The last table is that of the backends' port.
    TG_PORTS="$TG_PORTS
gateway = \"10.1.0.253\"
gateway6 = \"fd00:b::fd\"
"
    backends4=$FAR4 backends6=$FAR6
else
    tg_layout one-arm "${mode#full-}"
    narrow router "$CLIENT4" eth0 "$MTU4"
    narrow router "$CLIENT6" eth0 "$MTU6"
fi
for host in client $TG_SERVERS; do
    tg_sysctl "$host" net.ipv4.tcp_mtu_probing=0
done

configuration "$TG_DIR/near.toml" "$backends4" "$backends6"
start_servers
tg_start "$TG_DIR/near.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 30 3
done

case $1 in
nat-two-arm)
    check_path_of_upload "$VIP4" "$FAR_MTU4"
    check_path_of_upload "$VIP6" "$FAR_MTU6"
    ;;
gre | ipip | gue)
    check_download "$VIP4" "$CLIENT4" "$MTU4"
    check_download "$VIP6" "$CLIENT6" "$MTU6"
    case $1 in
    gre) check_tunnel 24 ;;
    ipip) check_tunnel 20 ;;
    gue) check_tunnel 28 ;;
    esac
    ;;
full-nat)
    # The servers know the local addresses alone, and nobody else has them.
    check_download "$VIP4" "$LOCAL4" "$MTU4"
    check_download "$VIP6" "$LOCAL6" "$MTU6"
    check_path_of_upload "$VIP4" ""
    check_path_of_upload "$VIP6" ""
    far router eth2 254 fe
    reload "$FAR4" "$FAR6"
    check_path_of_upload "$VIP4" "$FAR_MTU4"
    check_path_of_upload "$VIP6" "$FAR_MTU6"
    # From one version to the other, whose header is 20 bytes longer or shorter (RFC 7915 4.2, 5.2).
    reload "$FAR6" "$FAR4"
    check_download "$VIP4" "$LOCAL6" $((MTU4 + 20))
    check_download "$VIP6" "$LOCAL4" $((MTU6 - 20))
    check_path_of_upload "$VIP4" $((FAR_MTU6 - 20))
    check_path_of_upload "$VIP6" $((FAR_MTU4 + 20))
    ;;
*)
    check_download "$VIP4" "$CLIENT4" "$MTU4"
    check_download "$VIP6" "$CLIENT6" "$MTU6"
    check_path_of_upload "$VIP4" ""
    check_path_of_upload "$VIP6" ""
    ;;
esac
tg_stop 1000
echo "PASS $(basename "$0" .sh) $1"
