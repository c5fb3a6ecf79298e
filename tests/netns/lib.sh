# shellcheck shell=bash
# Network namespaces with real clients, routers and servers around one tidegate.
#
#   source lib.sh; tg_init NAME; tg_layout one-arm|two-arm nat|gre|ipip|gue|dsr; tg_config FILE; tg_start; ...
#
# two-arm                                        one-arm
#   client --- [clients] --- wan tidegate lan      client --- router --- [servers] --- net tidegate
#                        [servers] ---/  \mgmt                              | | |  \--- mgmt
#                          | | |                                            s1 s2 s3
#                          s1 s2 s3
#
# tidegate's data ports have no kernel address; `mgmt` has one in the servers' network, for the health checks.
# Everything has the run's own names: namespaces tg-ID-*, files in $TG_DIR. Only processes and namespaces of this
# run are ended, on every way out.

TG_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TG_TOP=$(cd "$TG_LIB/../.." && pwd)
TIDEGATE=${TIDEGATE:-${CARGO_TARGET_DIR:-$TG_TOP/target}/release/tidegate}
# AF_PACKET needs neither a library nor BPF; net_af_xdp works as well where DPDK has it.
TG_VDEV=${TIDEGATE_TEST_VDEV:-net_af_packet}
TG_KEEP=""
TG_SERVERS="s1 s2 s3"
# Of what http_server.py's /big and /slow send.
# shellcheck disable=SC2034 # for checks.sh
PAYLOAD_SHA256=9d36f9e7bd84a501a8840235136bca291422403593b0536d49cca3e0dfa67fd0

. "$TG_LIB/checks.sh"

# ---- the run ---------------------------------------------------------------------------------------------------

# Why there can be no namespaces with real traffic here, tools beyond the usual ones as arguments; nothing if there can.
tg_obstacle() {
    local missing="" tool probe="tg-probe-$$"
    if [ "$(id -u)" != 0 ]; then
        echo "not root: network namespaces need it"
        return
    fi
    for tool in ip ethtool curl python3 setsid sha256sum "$@"; do
        command -v "$tool" >/dev/null || missing="$missing $tool"
    done
    if [ -n "$missing" ]; then
        echo "not installed:$missing"
    elif [ ! -c /dev/net/tun ]; then
        echo "/dev/net/tun is missing: modprobe tun, or start the container with --device /dev/net/tun"
    else
        # Containers have root without the right to make namespaces, or to mount what `ip netns exec` needs.
        (
            trap 'ip netns del "$probe" 2>/dev/null' EXIT
            if ! ip netns add "$probe" 2>/dev/null; then
                echo "no permission to make network namespaces"
            elif ! ip netns exec "$probe" true 2>/dev/null; then
                echo "no permission to enter network namespaces"
            fi
        )
    fi
}

# Skip (77) without what namespaces need.
tg_require() {
    local obstacle
    obstacle=$(tg_obstacle "$@")
    [ -z "$obstacle" ] || tg_skip "$obstacle"
    [ -x "$TIDEGATE" ] || tg_fail "$TIDEGATE is missing: run cargo build --release first"
}

tg_skip() {
    echo "SKIPPED $(basename "$0"): $*"
    exit 77
}

# One reason, the end of the logs, and out.
tg_fail() {
    echo "FAIL $(basename "$0" .sh): $*" >&2
    local log
    for log in "${TG_DIR:-/nonexistent}"/*.log; do
        [ -s "$log" ] || continue
        echo "--- last lines of $(basename "$log")" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}

tg_step() { echo "  $*"; }

tg_init() {
    TG_ID=$$
    TG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-$1.XXXXXX")
    TG_SOCKET=$TG_DIR/control.sock
    TG_PID=""
    TG_PIDS=""
    TG_NAMESPACES=""
    trap tg_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# Ends what this run started, by process id, and removes its namespaces and files.
tg_cleanup() {
    local status=$?
    trap '' INT TERM HUP
    trap - EXIT
    [ -z "$TG_KEEP" ] || exit "$status"
    # shellcheck disable=SC2086 # lists of ids
    tg_end_processes $TG_PIDS
    # shellcheck disable=SC2086
    tg_remove_namespaces $TG_NAMESPACES
    tg_remove_runtime_files "tg-$TG_ID"
    [ -z "${TIDEGATE_TEST_KEEP_FILES:-}" ] && rm -rf "$TG_DIR"
    exit "$status"
}

# Namespaces with all that runs in them.
tg_remove_namespaces() {
    local name pid
    for name in "$@"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null
        done
        ip netns del "$name" 2>/dev/null
    done
}

# What DPDK leaves behind under the prefix that tg_config gives it.
tg_remove_runtime_files() { rmdir "/run/dpdk/$1" 2>/dev/null; }

# TERM, up to a second and a half, KILL.
tg_end_processes() {
    local pid left wait
    [ $# -gt 0 ] || return 0
    kill "$@" 2>/dev/null
    for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        left=""
        for pid in "$@"; do
            kill -0 "$pid" 2>/dev/null && left="$left $pid"
        done
        [ -n "$left" ] || break
        sleep 0.1
    done
    # shellcheck disable=SC2086
    [ -z "$left" ] || kill -KILL $left 2>/dev/null
    wait "$@" 2>/dev/null
    : "$wait"
}

# A host that has ended is no longer ours to end: its id may be another's soon.
tg_forget() {
    local pid kept=""
    for pid in $TG_PIDS; do
        [ "$pid" = "$1" ] || kept="$kept $pid"
    done
    TG_PIDS=$kept
}

# ---- namespaces ------------------------------------------------------------------------------------------------

tg_ns() { echo "tg-$TG_ID-$1"; }

# A command in the namespace of a host.
on() {
    local host=$1
    shift
    ip netns exec "$(tg_ns "$host")" "$@"
}

# Start a command in the background on a host, output to LOG; its process id is in TG_LAST_PID.
on_background() {
    local host=$1 log=$TG_DIR/$2.log
    shift 2
    # Out of the terminal's process group, so that Ctrl-C only reaches the script, which then ends the rest in order.
    # Both setsid and `ip netns exec` become the command, so the id is the command's own.
    setsid ip netns exec "$(tg_ns "$host")" "$@" </dev/null >>"$log" 2>&1 &
    TG_LAST_PID=$!
    TG_PIDS="$TG_PIDS $TG_LAST_PID"
}

# Wait until a log has a line, or fail.
tg_await_line() {
    local log=$TG_DIR/$1.log line=$2 pid=$3 count=0
    until grep -qx "$line" "$log" 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || tg_fail "$1 ended before it was ready"
        count=$((count + 1))
        [ "$count" -lt 200 ] || tg_fail "$1 is not ready after 20 seconds"
        sleep 0.1
    done
}

# tg_sysctl HOST KEY=VALUE...; written by hand, as sysctl is not on every machine.
tg_sysctl() {
    local host=$1
    shift
    # Not every kernel has every one (no IPv6, no br_netfilter).
    # shellcheck disable=SC2016 # for the inner shell
    on "$host" sh -c 'for setting; do
        file=/proc/sys/$(echo "${setting%%=*}" | tr . /)
        [ ! -e "$file" ] || echo "${setting#*=}" >"$file"
    done' sh "$@" 2>/dev/null || true
}

# A namespace that takes nothing over from the machine: a Docker host would hand down ip_forward=1.
tg_host() {
    local name
    name=$(tg_ns "$1")
    # Before it is made: Ctrl-C may come when it is half made.
    TG_NAMESPACES="$TG_NAMESPACES $name"
    ip netns add "$name" || tg_fail "cannot make the namespace $name"
    tg_sysctl "$1" net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.disable_ipv6=0 \
        net.ipv6.conf.default.disable_ipv6=0 net.ipv4.ip_local_port_range="10000 65000" \
        net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
    ip -n "$name" link set lo up
}

tg_offloads_off() {
    # One by one: a feature that is fixed must not keep the others on.
    local feature
    for feature in tx rx gro gso tso; do
        on "$1" ethtool -K "$2" "$feature" off >/dev/null 2>&1 || true
    done
    on "$1" ethtool -k "$2" | grep -q '^tx-checksumming: off' ||
        tg_fail "$2 on $1 leaves checksums to the other end, and no offload setting changes it"
}

# A cable from HOST's DEVICE into bridge BRIDGE.
tg_plug() {
    local host=$1 device=$2 bridge=$3 peer
    peer=$1-$2
    ip -n "$(tg_ns "$host")" link add "$device" type veth peer name "$peer" netns "$(tg_ns switch)" ||
        tg_fail "cannot make a veth pair"
    ip -n "$(tg_ns switch)" link set "$peer" master "$bridge" up
    tg_offloads_off switch "$peer"
    tg_offloads_off "$host" "$device"
}

# tg_plug, and addresses on it.
tg_attach() {
    local host=$1 device=$2 bridge=$3 address
    shift 3
    tg_plug "$host" "$device" "$bridge"
    ip -n "$(tg_ns "$host")" link set "$device" up
    for address in "$@"; do
        case $address in
        *:*) ip -n "$(tg_ns "$host")" addr add "$address" dev "$device" nodad ;;
        *) ip -n "$(tg_ns "$host")" addr add "$address" dev "$device" ;;
        esac || tg_fail "cannot set $address on $host"
    done
}

# A port that DPDK owns. The kernel sees a copy of each frame on an AF_PACKET port, so it must have nothing to say:
# no address, no ARP (it would answer for mgmt's address with this MAC), no IPv6 (router solicitations).
tg_attach_dpdk() {
    local device=$1 bridge=$2
    tg_plug balancer "$device" "$bridge"
    tg_sysctl balancer "net.ipv6.conf.$device.disable_ipv6=1"
    ip -n "$(tg_ns balancer)" link set "$device" arp off up
}

tg_bridge() {
    ip -n "$(tg_ns switch)" link add "$1" type bridge forward_delay 0 mcast_snooping 0 || tg_fail "cannot make a bridge"
    tg_sysctl switch "net.ipv6.conf.$1.disable_ipv6=1"
    ip -n "$(tg_ns switch)" link set "$1" up
}

tg_route() {
    local host=$1
    shift
    ip -n "$(tg_ns "$host")" route add "$@" || tg_fail "cannot set the route $* on $host"
}

# ---- layouts ---------------------------------------------------------------------------------------------------

# tg_layout one-arm|two-arm nat|gre|ipip|gue|dsr, or one-arm nat+gre with a second VIP, GRE_VIP4, for GRE. Sets VIP4, VIP6, TG_BACKENDS4, TG_BACKENDS6 and TG_PORTS (the configuration).
tg_layout() {
    TG_MODE=$2
    local host number
    # shellcheck disable=SC2034 # for the cases
    TG_BACKENDS4="10.1.0.11 10.1.0.12 10.1.0.13"
    # shellcheck disable=SC2034
    TG_BACKENDS6="fd00:b::11 fd00:b::12 fd00:b::13"
    for host in switch client balancer $TG_SERVERS; do
        tg_host "$host"
    done
    tg_bridge servers
    number=10
    for host in $TG_SERVERS; do
        number=$((number + 1))
        tg_attach "$host" eth0 servers "10.1.0.$number/24" "fd00:b::$number/64"
    done
    tg_attach balancer mgmt servers 10.1.0.9/24 fd00:b::9/64
    case $1 in
    two-arm) tg_two_arm ;;
    one-arm) tg_one_arm ;;
    *) tg_fail "no layout $1" ;;
    esac
    case $TG_MODE in
    gre | ipip | gue | dsr) tg_vips_on_servers "$VIP4" "$VIP6" ;;
    nat+gre) tg_gre_beside_nat ;;
    esac
}

# The client's VIP is on its own link, so it asks for it by ARP and ND. Replies can only come back through tidegate.
tg_two_arm() {
    local host
    VIP4=10.0.0.100 VIP6=fd00:a::100
    tg_bridge clients
    tg_attach client eth0 clients 10.0.0.7/24 fd00:a::7/64
    tg_attach_dpdk wan clients
    tg_attach_dpdk lan servers
    for host in $TG_SERVERS; do
        tg_route "$host" default via 10.1.0.1
        tg_route "$host" default via fd00:b::1
    done
    TG_ASKS=client
    TG_PORTS="
[[port]]
name = \"wan\"
device = \"${TG_VDEV}0,iface=wan\"
addresses = [\"10.0.0.2/24\", \"fd00:a::2/64\"]

[[port]]
name = \"lan\"
device = \"${TG_VDEV}1,iface=lan\"
addresses = [\"10.1.0.1/24\", \"fd00:b::1/64\"]
"
}

# The client is behind a router. With NAT the servers' gateway is tidegate, else the router: direct server return.
tg_one_arm() {
    local host gateway4=10.1.0.254 gateway6=fd00:b::fe via4="via 10.1.0.2" via6="via fd00:b::2"
    VIP4=192.0.2.10 VIP6=2001:db8::10
    tg_host router
    tg_bridge clients
    tg_attach client eth0 clients 10.0.0.7/24 fd00:a::7/64
    tg_attach router eth0 clients 10.0.0.254/24 fd00:a::fe/64
    tg_attach router eth1 servers 10.1.0.254/24 fd00:b::fe/64
    tg_attach_dpdk net servers
    tg_sysctl router net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth1.send_redirects=0
    tg_route client default via 10.0.0.254
    tg_route client default via fd00:a::fe
    # With tunnels the router asks for the VIP itself; servers that have it too must keep quiet.
    case $TG_MODE in
    gre | ipip | gue) via4="" via6="" ;;
    esac
    # shellcheck disable=SC2086 # none or two words
    tg_route router "$VIP4/32" $via4 dev eth1
    # shellcheck disable=SC2086
    tg_route router "$VIP6/128" $via6 dev eth1
    [ "${TG_MODE%+gre}" != nat ] || gateway4=10.1.0.2 gateway6=fd00:b::2
    for host in $TG_SERVERS; do
        tg_route "$host" default via "$gateway4"
        tg_route "$host" default via "$gateway6"
    done
    # shellcheck disable=SC2034 # for checks.sh
    TG_ASKS=router
    TG_PORTS="
[[port]]
name = \"net\"
device = \"${TG_VDEV}0,iface=net\"
addresses = [\"10.1.0.2/24\", \"fd00:b::2/64\"]
gateway = \"10.1.0.254\"
gateway6 = \"fd00:b::fe\"
"
}

# Direct server return: the VIP is the servers' own address, but they answer no ARP for it.
tg_vips_on_servers() {
    local host vip
    for host in $TG_SERVERS; do
        tg_sysctl "$host" net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
        for vip in "$@"; do
            case $vip in
            *:*) ip -n "$(tg_ns "$host")" addr add "$vip/128" dev lo nodad ;;
            *) ip -n "$(tg_ns "$host")" addr add "$vip/32" dev lo ;;
            esac
        done
    done
}

# One tidegate for both: what a server sends from the GRE VIP goes straight to the router, the rest to tidegate.
tg_gre_beside_nat() {
    local host
    GRE_VIP4=192.0.2.20
    tg_route router "$GRE_VIP4/32" via 10.1.0.2 dev eth1
    tg_vips_on_servers "$GRE_VIP4"
    for host in $TG_SERVERS; do
        ip -n "$(tg_ns "$host")" rule add from "$GRE_VIP4" lookup 100 || tg_fail "the kernel has no policy routing"
        tg_route "$host" default via 10.1.0.254 table 100
    done
}

# ---- servers ---------------------------------------------------------------------------------------------------

# start_server NAME [python|nginx]: a backend that answers with its name; SERVER_PID_NAME is its process id.
start_server() {
    local name=$1 kind=${2:-python} number=${1#s} udp
    if [ "$kind" = nginx ]; then
        start_nginx "$name"
        return
    fi
    if [ "${TG_MODE%+gre}" = nat ]; then
        udp="--udp 10.1.0.1$number --udp fd00:b::1$number ${GRE_VIP4:+--udp $GRE_VIP4}"
    else
        udp="--udp $VIP4 --udp $VIP6"
    fi
    rm -f "$TG_DIR/http-$name.log"
    # shellcheck disable=SC2086
    on_background "$name" "http-$name" python3 "$TG_LIB/http_server.py" --name "$name" $udp
    tg_await_line "http-$name" ready "$TG_LAST_PID"
    eval "SERVER_PID_$name=$TG_LAST_PID"
}

start_nginx() {
    local name=$1 prefix=$TG_DIR/nginx-$1 count=0
    mkdir -p "$prefix"
    if [ ! -e "$TG_DIR/payload" ]; then
        python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True
import http_server; sys.stdout.buffer.write(http_server.payload())' "$TG_LIB" >"$TG_DIR/payload"
    fi
    ln -sf "$TG_DIR/payload" "$prefix/payload"
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@NAME@|$name|g" "$TG_LIB/nginx.conf.in" >"$prefix/nginx.conf"
    on_background "$name" "http-$name" nginx -p "$prefix" -e "$prefix/error.log" -c "$prefix/nginx.conf"
    eval "SERVER_PID_$name=$TG_LAST_PID"
    until on "$name" curl -s -o /dev/null --max-time 1 http://127.0.0.1/who; do
        count=$((count + 1))
        [ "$count" -lt 100 ] || tg_fail "nginx on $name does not start"
        sleep 0.1
    done
}

# Kill a server as a crash would.
crash_server() {
    local pid child children count=0
    eval "pid=\$SERVER_PID_$1"
    # nginx's workers outlive a killed master, and a running master replaces a killed worker.
    kill -STOP "$pid"
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    # shellcheck disable=SC2086 # a list of ids
    kill -KILL "$pid" $children
    wait "$pid" 2>/dev/null
    tg_forget "$pid"
    # Their port must be free when this returns.
    for child in $children; do
        while kill -0 "$child" 2>/dev/null; do
            count=$((count + 1))
            [ "$count" -lt 100 ] || tg_fail "process $child of $1 does not end"
            sleep 0.02
        done
    done
}

# Servers on all three, and what takes the tunnel off.
start_servers() {
    local name
    for name in $TG_SERVERS; do
        start_server "$name" "${1:-python}"
        case $TG_MODE in
        *gre | ipip | gue) ;;
        *) continue ;;
        esac
        on_background "$name" "tunnel-$name" python3 "$TG_LIB/tunnel_decap.py" --encap "${TG_MODE#nat+}"
        tg_await_line "tunnel-$name" ready "$TG_LAST_PID"
        eval "TUNNEL_PID_$name=$TG_LAST_PID"
    done
}

# ---- tidegate --------------------------------------------------------------------------------------------------

# tg_config FILE WORKERS, then tg_service ... >> FILE for each service.
tg_config() {
    cat >"$1" <<EOF
[dataplane]
workers = $2
connections = 100_000
mbufs = 16_384
eal = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--file-prefix", "tg-$TG_ID"]

[control]
socket = "$TG_SOCKET"
state_file = "$TG_DIR/state.json"
grace = 1
$TG_PORTS
EOF
}

# tg_service NAME VIP MODE SCHEDULER PROTOCOL "BACKEND ADDRESSES" [s1's WEIGHT]: a service as a piece of configuration.
tg_service() {
    local name=$1 vip=$2 mode=$3 scheduler=$4 protocol=$5 backends=$6 weight=${7:-100} address number=0
    cat <<EOF
[[service]]
name = "$name"
vip = "$vip"
port = 80
protocol = "$protocol"
mode = "$mode"
scheduler = "$scheduler"
EOF
    # The datagram echo is in the process that speaks HTTP, so HTTP says how it is.
    cat <<EOF
[service.health]
type = "http"
port = 80
path = "/who"
interval = 0.5
timeout = 0.4
rise = 1
flap_hold = 0
fall = 2
EOF
    for address in $backends; do
        number=$((number + 1))
        cat <<EOF
[[service.backend]]
name = "s$number"
address = "$address"
weight = $weight
EOF
        weight=100
    done
}

# Start tidegate on a configuration, and wait until it answers commands.
tg_start() {
    local count=0
    "$TIDEGATE" check "$1" >"$TG_DIR/check.log" 2>&1 || tg_fail "tidegate check refuses the configuration"
    TG_STATS=$TG_DIR/stats.json
    on_background balancer tidegate "$TIDEGATE" run --config "$1" --stats "$TG_STATS"
    TG_PID=$TG_LAST_PID
    until "$TIDEGATE" --socket "$TG_SOCKET" show services >/dev/null 2>&1; do
        kill -0 "$TG_PID" 2>/dev/null || tg_fail "tidegate ended at its start"
        count=$((count + 1))
        [ "$count" -lt 200 ] || tg_fail "tidegate does not answer \`show services\` after 20 seconds"
        sleep 0.1
    done
}

# SIGTERM, exit status 0 in time, and a stats file that balances.
tg_stop() {
    local count=0 status=0 line
    kill -TERM "$TG_PID" || tg_fail "tidegate is gone before SIGTERM"
    while kill -0 "$TG_PID" 2>/dev/null; do
        count=$((count + 1))
        [ "$count" -lt 150 ] || tg_fail "tidegate still runs 15 seconds after SIGTERM"
        sleep 0.1
    done
    wait "$TG_PID" || status=$?
    tg_forget "$TG_PID"
    [ "$status" = 0 ] || tg_fail "tidegate's exit status after SIGTERM is $status"
    line=$(python3 "$TG_LIB/check_stats.py" "$TG_STATS" --rx-min "$1" 2>&1) || tg_fail "$line"
    tg_step "SIGTERM: exit status 0; $line"
}
