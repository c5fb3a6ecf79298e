#!/bin/sh
# Prepares a Linux server as a backend of tidegate, says what it lacks (--check), or takes everything back (--undo).
# Needs `ip` of iproute2 and root. Lasts until the next boot: run it from a unit or a network script.
set -u

usage() {
    cat <<'END'
usage: backend-setup.sh MODE [VIP...] [options]
  MODE is that of the service: dsr, gre, ipip, gue, nat or full-nat; VIPs are IPv4 or IPv6 addresses.

  --balancer ADDRESS  tunnels: take them from this address only; nat: the balancer's address on this network (required).
                      Once for IPv4 and once for IPv6.
  --local ADDRESS     tunnels: where they end here, the backend's `address` in the configuration; once for each family.
                      Default: the address that this host speaks from.
  --gue-port PORT     gue: the service's `gue_port` (6080)
  --port PORT[/udp]   nat: only what this server sends from the port goes through the balancer; may be repeated.
                      --check: something must listen there.
  --mss BYTES|auto    tunnels: announce segments to clients that fit into the tunnel
  --device NAME       where the VIPs go (lo); one that is not there is made, of type dummy
  --check             change nothing; say what is missing and what mends it: exit status 0 ready, 1 not
  --undo              take back what was set up
  --dry-run           print the commands only
END
}

STATE=/run/tidegate-backend
# Numbers of routing tables and of the rules that lead to them: replies through the balancer, and replies with another MSS.
# The rule MAIN comes before NAT, so that all routes but the default one stay in use.
MAIN=7466
NAT=7467
MSS=7468

action=setup dry=0 mode="" vips4="" vips6="" balancer4="" balancer6="" local4="" local6=""
ports="" gue_port=6080 mss="" device=lo faults=0 changes=0

wrong() {
    echo "backend-setup.sh: $*" >&2
    echo "backend-setup.sh --help has the usage" >&2
    exit 2
}

is_number() {
    case $1 in
    "" | *[!0-9]* | ??????*) return 1 ;;
    esac
    [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

# 4 or 6, or a fault.
family() {
    case $1 in
    *[!0-9a-fA-F.:]* | "") wrong "'$1' is no address" ;;
    *:*.*) wrong "'$1': an IPv6 address is written without dots here" ;;
    *:*:*) echo 6 ;;
    *.*.*.*) echo 4 ;;
    *) wrong "'$1' is no address" ;;
    esac
}

arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --balancer | --local | --gue-port | --port | --mss | --device)
            [ $# -gt 1 ] || wrong "$1 needs a value"
            option "$1" "$2"
            shift
            ;;
        --check | --undo) action=${1#--} ;;
        --dry-run) dry=1 ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) wrong "unknown option $1" ;;
        dsr | gre | ipip | gue | nat | full-nat)
            [ -z "$mode" ] || wrong "one mode at a time: $mode or $1"
            mode=$1
            ;;
        *)
            [ -n "$mode" ] || wrong "'$1' is no mode"
            case $(family "$1") in
            4) vips4="$vips4 $1" ;;
            6) vips6="$vips6 $1" ;;
            *) exit 2 ;;
            esac
            ;;
        esac
        shift
    done
    case $mode in
    "") wrong "which mode?" ;;
    dsr | gre | ipip | gue) [ -n "$vips4$vips6" ] || wrong "which VIP?" ;;
    nat) [ "$action" = undo ] || [ -n "$balancer4$balancer6" ] || wrong "nat needs --balancer" ;;
    esac
}

option() {
    case $1 in
    --balancer | --local)
        case "$1 $(family "$2")" in
        "--balancer 4") balancer4=$2 ;;
        "--balancer 6") balancer6=$2 ;;
        "--local 4") local4=$2 ;;
        "--local 6") local6=$2 ;;
        *) exit 2 ;;
        esac
        ;;
    --gue-port) is_number "$2" 1 65535 && gue_port=$2 || wrong "'$2' is no port" ;;
    --port)
        is_number "${2%/*}" 1 65535 || wrong "'$2' is no port"
        case $2 in
        */tcp | */udp) ports="$ports $2" ;;
        */*) wrong "'$2': tcp or udp" ;;
        *) ports="$ports $2/tcp" ;;
        esac
        ;;
    --mss) [ "$2" = auto ] || is_number "$2" 536 9560 || wrong "'$2' is no MSS"; mss=$2 ;;
    --device)
        case $2 in
        "" | *[!0-9a-zA-Z_.-]* | ????????????????*) wrong "'$2' is no name of a device" ;;
        esac
        device=$2
        ;;
    esac
}

# ---- what is there, what is wanted -----------------------------------------------------------------------------

# wanted WHAT TEST COMMAND...: each command mends what the test finds missing.
wanted() {
    what=$1
    test=$2
    shift 2
    ! eval "$test" >/dev/null 2>&1 || return 0
    if [ "$action" = check ]; then
        faults=$((faults + 1))
        echo "missing: $what"
        for command; do echo "    $command"; done
        return 1
    fi
    for command; do run "$command" || return 1; done
}

run() {
    changes=$((changes + 1))
    echo "$1"
    [ "$dry" = 0 ] || return 0
    case $1 in
    "sysctl -w "*) set_key "${1#sysctl -w }" ;;
    *) eval "$1" ;;
    esac && return
    faults=$((faults + 1))
    echo "backend-setup.sh: failed: $1" >&2
    return 1
}

# A dot in the name of a device is a slash in that of its key, as for sysctl.
key_file() { echo "/proc/sys/$(echo "$1" | tr ./ /.)"; }
value() { cat "$(key_file "$1")" 2>/dev/null; }

# The first value of a key is kept for --undo.
set_key() {
    key=${1%%=*}
    grep -q "^sysctl $key " "$STATE" 2>/dev/null || note "sysctl $key $(value "$key")" || return
    echo "${1#*=}" >"$(key_file "$key")"
}

note() { grep -qxF "$1" "$STATE" 2>/dev/null || echo "$1" >>"$STATE"; }
forget() {
    [ ! -e "$STATE" ] || { grep -vxF "$1" "$STATE" >"$STATE.new"; mv "$STATE.new" "$STATE"; }
}
# Whether one of these modes is set up still.
uses() { for it; do grep -q "^vip $it " "$STATE" 2>/dev/null && return; done; }

# Eight groups without leading zeros, or an IPv4 address as it is.
plain() {
    echo "$1" | awk '{
        if ($0 !~ /:/) { print; exit }
        at = index($0, "::"); n = split(at ? substr($0, 1, at - 1) : $0, head, ":"); m = at ? split(substr($0, at + 2), tail, ":") : 0
        for (i = 1; i <= 8; i++) {
            group = i <= n ? head[i] : i > 8 - m ? tail[i - 8 + m] : "0"
            sub(/^0+/, "", group); printf "%s:", group == "" ? "0" : tolower(group)
        }
    }'
}

# tunnel TYPE LOCAL REMOTE: the device that takes such tunnels and is up.
tunnel() {
    end=$(plain "$2")
    other=$([ "$3" = any ] || plain "$3")
    ip -d -o link show type "$1" up 2>/dev/null |
        sed -n 's/^[0-9]*: \([^:@]*\)[@:].* remote \([^ ]*\) local \([^ ]*\) .*/\1 \2 \3/p' |
        while read -r name remote own; do
            [ "$(plain "$own")" = "$end" ] || continue
            if [ "$remote" = any ] || [ "$(plain "$remote")" = "$other" ]; then
                echo "$name"
                break
            fi
        done
}

speaks_from() {
    ip -o "-$1" route get "$2" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p'
}

# ---- the parts of a set-up -------------------------------------------------------------------------------------

vips() {
    if [ "$device" != lo ]; then
        if [ ! -d "/sys/class/net/$device" ] && wanted "device $device" false "ip link add $device type dummy" && [ "$dry" = 0 ]; then
            note "dummy $device"
        fi
        wanted "device $device up" "[ -n \"\$(ip -o link show dev $device up)\" ]" "ip link set $device up"
    fi
    for vip in $vips4; do
        wanted "VIP $vip on $device" "ip -o -4 addr show dev $device to $vip/32 | grep -q ." "ip addr add $vip/32 dev $device"
    done
    for vip in $vips6; do
        wanted "VIP $vip on $device" "ip -o -6 addr show dev $device to $vip/128 | grep -q ." "ip addr add $vip/128 dev $device nodad"
    done
    if [ "$action$dry" = setup0 ]; then
        for vip in $vips4 $vips6; do note "vip $mode $vip"; done
    fi
}

# Without these every server answers ARP for the VIP, and clients of its network go past the balancer. For IPv6, Linux
# answers for the addresses of the asked device alone.
silence() {
    [ -n "$vips4" ] || return 0
    wanted "silence about the VIP in ARP answers" "[ \"\$(value net.ipv4.conf.all.arp_ignore)\" -ge 1 ]" \
        "sysctl -w net.ipv4.conf.all.arp_ignore=1"
    wanted "silence about the VIP in ARP questions" "[ \"\$(value net.ipv4.conf.all.arp_announce)\" = 2 ]" \
        "sysctl -w net.ipv4.conf.all.arp_announce=2"
}

# What comes out of a tunnel is from clients whose way back is another device.
no_reverse_path_filter() {
    wanted "no check of the reverse path on $1" "[ \"\$(value net.ipv4.conf.$1.rp_filter)\" = 0 ]" \
        "sysctl -w net.ipv4.conf.$1.rp_filter=0"
    all=$(value net.ipv4.conf.all.rp_filter)
    [ "${all:-0}" != 0 ] || return 0
    # The larger one of a device's value and that of `all` counts, so the other devices get what held for them.
    set --
    for directory in /proc/sys/net/ipv4/conf/*; do
        name=${directory##*/}
        own=$(cat "$directory/rp_filter")
        case $name in
        all | default | tg-*) ;;
        *) [ "$own" -ge "$all" ] || set -- "$@" "sysctl -w net.ipv4.conf.$(echo "$name" | tr . /).rp_filter=$all" ;;
        esac
    done
    wanted "no check of the reverse path on all devices" false "$@" "sysctl -w net.ipv4.conf.all.rp_filter=0"
}

# tunnel_end NAME TYPE FAMILY INNER OPTIONS
tunnel_end() {
    case $3 in
    4) here=$local4 there=${balancer4:-any} ;;
    *) here=$local6 there=${balancer6:-any} ;;
    esac
    name=$1 type=$2 inner=$4
    set -- "ip link add $1 type $2${5:+ $5} local $here remote $there" "ip link set $1 up"
    [ ! -d "/sys/class/net/$name" ] || set -- "ip link del $name" "$@"
    wanted "tunnel $type to $here from $there" "[ -n \"\$(tunnel $type $here $there)\" ]" "$@"
    found=$(tunnel "$type" "$here" "$there")
    name=${found:-$name}
    case "$inner$vips4" in
    *4*?) no_reverse_path_filter "$name" ;;
    esac
    [ "$inner" = 4 ] || [ -z "$vips6" ] || [ ! -e "/proc/sys/net/ipv6/conf/$name" ] ||
        wanted "IPv6 on $name" "[ \"\$(value net.ipv6.conf.$name.disable_ipv6)\" = 0 ]" "sysctl -w net.ipv6.conf.$name.disable_ipv6=0"
}

tunnels() {
    case $mode in
    gre)
        [ -z "$local4" ] || tunnel_end tg-gre gre 4 46 ""
        [ -z "$local6" ] || tunnel_end tg-gre6 ip6gre 6 46 ""
        ;;
    ipip | gue)
        [ -z "$local4" ] || [ -z "$vips4" ] || tunnel_end tg-ipip ipip 4 4 ""
        [ -z "$local4" ] || [ -z "$vips6" ] || tunnel_end tg-sit sit 4 6 ""
        [ -z "$local6" ] || tunnel_end tg-ip6tnl ip6tnl 6 46 "mode any"
        ;;
    esac
}

gue_ports() {
    wanted "module fou" "[ -d /sys/module/fou ]" "modprobe fou"
    [ -z "$local4" ] ||
        wanted "UDP port $gue_port for GUE" "ip fou show | grep -v -e ' -6' | grep -q '^port $gue_port gue'" "ip fou add port $gue_port gue"
    [ -z "$local6" ] ||
        wanted "UDP port $gue_port for GUE over IPv6" "ip -6 fou show | grep -q '^port $gue_port gue.* -6'" "ip -6 fou add port $gue_port gue"
}

# Which of our addresses tunnels end at.
ends() {
    if [ -z "$local4$local6" ]; then
        if [ -n "$balancer4$balancer6" ]; then
            [ -z "$balancer4" ] || local4=$(speaks_from 4 "$balancer4")
            [ -z "$balancer6" ] || local6=$(speaks_from 6 "$balancer6")
        else
            local4=$(speaks_from 4 192.0.2.1)
            local6=$(speaks_from 6 2001:db8::1)
        fi
        [ -n "$local4$local6" ] || wrong "this host has no way to the balancer: which address of its own do tunnels end at? --local ADDRESS"
    fi
    for address in $local4 $local6; do
        ip -o addr show to "$address" | grep -q . || wrong "--local $address is no address of this host"
    done
}

# Replies of VIPs take copies of the routes, with an MSS that leaves room for the tunnel.
segments() {
    [ -n "$mss" ] || return 0
    case $mode in
    gre) headers=24 ;;
    ipip) headers=20 ;;
    *) headers=28 ;;
    esac
    [ -z "$local6" ] || headers=$((headers + 20))
    segments_of 4 40 "$vips4"
    segments_of 6 60 "$vips6"
}

segments_of() {
    [ -n "$3" ] || return 0
    routes=$(ip "-$1" route show table main | grep -v -e '^multicast' -e '^unreachable' -e '^blackhole' -e '^prohibit' | sed 's/ advmss [0-9]*//; s/ linkdown//; s/ dead//')
    bytes=$mss
    if [ "$mss" = auto ]; then
        link=$(echo "$routes" | sed -n 's/^default.* dev \([^ ]*\).*/\1/p' | head -n 1)
        bytes=$(($(cat "/sys/class/net/${link:-lo}/mtu") - headers - $2))
    fi
    set -- "$1" "$2" "$3"
    family=$1 addresses=$3
    set --
    while read -r route; do
        [ -z "$route" ] || set -- "$@" "ip -$family route replace $route advmss $bytes table $MSS"
    done <<END
$routes
END
    wanted "an MSS of $bytes in answers to clients" "ip -$family route show table $MSS | grep -q 'advmss $bytes'" "$@"
    for vip in $addresses; do
        wanted "the MSS for $vip" "ip -$family rule show pref $MSS from $vip | grep -q ." "ip -$family rule add pref $MSS from $vip lookup $MSS"
    done
}

# nat: the way back. Hosts of this network, and others with a route of their own, are answered as before.
way_back() {
    for family in 4 6; do
        via=$balancer4
        [ "$family" = 4 ] || via=$balancer6
        [ -n "$via" ] || continue
        wanted "way back through $via" "ip -$family route show table $NAT | grep -q '^default via $via '" "ip -$family route replace default via $via table $NAT"
        for port in ${ports:-every}; do
            # By number, because names need /etc/protocols.
            of=" ipproto 6 sport ${port%/*}"
            [ "${port#*/}" = tcp ] || of=" ipproto 17 sport ${port%/*}"
            [ "$port" != every ] || of=""
            wanted "other ways before it for port $port" "rule $family $MAIN '$of' 'lookup main suppress_prefixlength 0'" \
                "ip -$family rule add pref $MAIN$of lookup main suppress_prefixlength 0"
            wanted "it for port $port" "rule $family $NAT '$of' 'lookup $NAT'" "ip -$family rule add pref $NAT$of lookup $NAT"
        done
    done
}

# rule FAMILY NUMBER SELECTOR ACTION: whether there is such a rule.
rule() {
    ip "-$1" rule show pref "$2" | sed 's/  */ /g; s/ipproto-//; s/ipproto tcp /ipproto 6 /; s/ipproto udp /ipproto 17 /; s/ $//' |
        grep -q "from all$3 $4\$"
}

listeners() {
    [ "$action" = check ] || return 0
    command -v ss >/dev/null || return 0
    for port in $ports; do
        option=-t
        [ "${port#*/}" = tcp ] || option=-u
        wanted "a server on port $port" "ss -H -ln $option 'sport = :${port%/*}' | grep -q ." "start the server; it has to listen on the VIP, or on every address"
    done
}

# ---- taking it back --------------------------------------------------------------------------------------------

undo() {
    for vip in $vips4 $vips6; do
        [ "$dry" = 1 ] || forget "vip $mode $vip"
        ! grep -q "^vip [^ ]* $vip\$" "$STATE" 2>/dev/null || continue
        length=32
        [ "$(family "$vip")" = 4 ] || length=128
        gone "ip -o addr show dev $device to $vip/$length | grep -q ." "ip addr del $vip/$length dev $device"
        for family in 4 6; do
            gone "ip -$family rule show pref $MSS from $vip | grep -q ." "ip -$family rule del pref $MSS from $vip"
        done
    done
    case $mode in
    gre) uses gre || links tg-gre tg-gre6 ;;
    ipip | gue) uses ipip gue || links tg-ipip tg-sit tg-ip6tnl ;;
    nat)
        for family in 4 6; do
            for number in $MAIN $NAT; do
                while gone "ip -$family rule show pref $number | grep -q ." "ip -$family rule del pref $number" && [ "$dry" = 0 ]; do :; done
            done
            gone "ip -$family route show table $NAT | grep -q ." "ip -$family route flush table $NAT"
        done
        ;;
    esac
    if [ "$mode" = gue ] && ! uses gue; then
        gone "ip fou show | grep -v -e ' -6' | grep -q '^port $gue_port gue'" "ip fou del port $gue_port"
        gone "ip -6 fou show | grep -q '^port $gue_port gue.* -6'" "ip -6 fou del port $gue_port"
    fi
    uses gre ipip gue || for family in 4 6; do
        gone "ip -$family route show table $MSS | grep -q ." "ip -$family route flush table $MSS"
    done
    uses dsr gre ipip gue || restore
}

# gone TEST COMMAND: takes back what the test finds.
gone() {
    eval "$1" >/dev/null 2>&1 || return
    run "$2"
}

links() {
    for name; do gone "[ -d /sys/class/net/$name ]" "ip link del $name"; done
}

# The last VIP is gone: keys get their first values again.
restore() {
    [ -e "$STATE" ] || return 0
    while read -r kind key old; do
        case $kind in
        sysctl) [ ! -e "$(key_file "$key")" ] || run_plain "sysctl -w $key=$old" "echo $old >$(key_file "$key")" ;;
        dummy) links "$key" ;;
        esac
    done <"$STATE"
    [ "$dry" = 1 ] || rm -f "$STATE"
}

run_plain() {
    changes=$((changes + 1))
    echo "$1"
    [ "$dry" = 1 ] || eval "$2"
}

# ----------------------------------------------------------------------------------------------------------------

arguments "$@"
command -v ip >/dev/null || wrong "there is no \`ip\` here: apt-get install iproute2"
[ "$action" = check ] || [ "$dry" = 1 ] || [ "$(id -u)" = 0 ] || wrong "root is needed; --check and --dry-run go without"
case $action-$mode in
undo-*) undo ;;
*-full-nat)
    echo "full-nat needs nothing on the backend; replies go to the balancer's local addresses."
    echo "Its server learns the clients' addresses with client_address = \"proxy-v2\" (nginx: listen 8080 proxy_protocol) or \"toa\"."
    ;;
*-nat) way_back ;;
*-dsr)
    silence
    vips
    ;;
*)
    ends
    silence
    [ "$mode" != gue ] || gue_ports
    tunnels
    segments
    vips
    ;;
esac
listeners
of="$mode${vips4:+,$vips4}${vips6:+,$vips6}"
case $action in
check) [ "$faults" = 0 ] && echo "ready: $of" || echo "not ready: $of" ;;
*) [ "$changes" != 0 ] || [ "$mode" = full-nat ] || echo "nothing to do: $of" ;;
esac
[ "$faults" = 0 ]
