#!/bin/sh
# The guest's init: a server, and beside it the balancer with its client, whose part the kernel plays by tunnels of its own.
# For each mode: without the set-up no request is answered, with it one is, through the tunnel and from the VIP; what is
# broken then is named by the check; and afterwards everything is as before.
set -u
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox --install -s /sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
# Of a panic nothing else would be seen.
trap 'poweroff -f' EXIT

fail() {
    echo "FAIL $*"
    exit 1
}

VIP4=192.0.2.10 VIP6=2001:db8::10 CLIENT4=198.51.100.7 CLIENT6=2001:db8:7::7
BALANCER4=10.1.0.2 BALANCER6=fd00:b::2 SERVER4=10.1.0.11 SERVER6=fd00:b::11
setup=/config/backend-setup.sh check=/config/backend-check.sh

bal() { ip netns exec bal "$@"; }

topology() {
    ip netns add bal
    # As systems with strict filters have it.
    echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter
    ip link set lo up
    ip link add eth0 type veth peer name b0 netns bal
    ip addr add $SERVER4/24 dev eth0
    ip addr add $SERVER6/64 dev eth0 nodad
    ip link set eth0 up
    # The router of this network, which is the way to all clients, is the balancer's other address.
    ip route add default via 10.1.0.254
    ip route add default via fd00:b::fe
    bal ip link set lo up
    bal ip addr add $BALANCER4/24 dev b0
    bal ip addr add 10.1.0.254/24 dev b0
    bal ip addr add $BALANCER6/64 dev b0 nodad
    bal ip addr add fd00:b::fe/64 dev b0 nodad
    bal ip link set b0 up
    bal ip addr add $CLIENT4/32 dev lo
    bal ip addr add $CLIENT6/128 dev lo nodad
    # shellcheck disable=SC2016 # for the inner shell
    bal sh -c 'for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done'
    mkdir /tmp/www
    echo "from the server" >/tmp/www/index.html
    httpd -p 80 -h /tmp/www
    httpd -p 8080 -h /tmp/www
}

# asks ADDRESS [PORT]: a client's request, answered or not.
asks() {
    case $1 in
    *:*) url="http://[$1]:${2:-80}/" ;;
    *) url="http://$1:${2:-80}/" ;;
    esac
    [ "$(bal timeout 1 wget -q -O - "$url" 2>/dev/null)" = "from the server" ]
}

# Of all at the same time, as silence takes its time.
answered() {
    rm -f /tmp/answered.*
    for vip in $vips; do
        { asks "$vip" && touch "/tmp/answered.$vip"; } &
        asking="${asking:-} $!"
    done
    # shellcheck disable=SC2086 # a list
    wait $asking
    asking=""
    for vip in $vips; do [ -e "/tmp/answered.$vip" ] && echo "$vip"; done
}
none_answers() { [ -z "$(answered)" ]; }
all_answer() { [ "$(answered | wc -l)" = "$(echo "$vips" | wc -w)" ]; }

# What is not the same afterwards.
everything() {
    ip -o addr show | grep -v ' fe80::' | sed 's/valid_lft.*//'
    ip rule show
    ip -6 rule show
    ip route show table all | grep -v -e ' ff00::/8' -e ' fe80::' | sort
    ip -6 route show table all | grep -v -e '^multicast' -e 'fe80' | sed 's/ expires.*//' | sort
    ip fou show 2>/dev/null
    ip -6 fou show 2>/dev/null
    grep . /proc/sys/net/ipv4/conf/eth0/rp_filter /proc/sys/net/ipv4/conf/all/rp_filter /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce
}

# shellcheck disable=SC2086 # a list
sets_up() { quiet $setup $arguments "$@"; }
# shellcheck disable=SC2086 # a list
checks() { quiet $check $arguments; }
quiet() { "$@" >/tmp/said 2>&1; }
said() {
    cat /tmp/said
    fail "$what: $*"
}

# as_backend WHAT "ARGUMENTS" "VIP..." BREAK WORD: `BREAK` breaks something, and the check names it by `WORD`.
as_backend() {
    what=$1 arguments=$2 vips=$3 break=$4 word=$5
    none_answers || fail "$what: a VIP is answered without the set-up"
    if [ "$first" = yes ]; then
        # What does not depend on the mode.
        checks && said "the check finds nothing missing before the set-up"
        sets_up --dry-run || said "the dry run fails"
        as_before "the dry run"
        sets_up || said "the set-up fails"
        sets_up && grep -q "^nothing to do" /tmp/said || said "the set-up is done twice"
        first=no
    fi
    sets_up || said "the set-up fails"
    all_answer || said "not every VIP is answered after the set-up"
    eval "$break"
    checks && said "the check does not see: $break"
    grep -q "^missing: .*$word" /tmp/said || said "the check does not name $word after: $break"
    # What the check tells to do mends it.
    sed -n 's/^    //p' /tmp/said >/tmp/mend
    quiet sh -e /tmp/mend || said "what the check says does not work"
    all_answer || said "not every VIP is answered after the mend"
    checks || said "the check finds faults when all is well"
    sets_up --undo || said "the undo fails"
    as_before "the undo"
    [ ! -e /run/tidegate-backend ] || fail "$what: a state file is left"
    echo "  $what: answered, \"$word\" named and mended, undone; $(cut -d" " -f1 /proc/uptime) s"
}

as_before() {
    everything >/tmp/after
    cmp -s /tmp/before /tmp/after || { diff /tmp/before /tmp/after; fail "$what: $1 leaves something"; }
}

# The balancer's end of a tunnel: to_vips DEVICE-ARGUMENTS, and routes of the VIPs into it.
tunnels_to() {
    while [ $# -gt 0 ]; do
        # shellcheck disable=SC2086 # a list
        bal ip link add $1 || fail "no tunnel for the balancer: $1"
        name=${1%% *}
        bal ip link set "$name" up
        case $2 in
        *4*) bal ip route replace $VIP4/32 dev "$name" src $CLIENT4 ;;
        esac
        case $2 in
        *6*) bal ip -6 route replace $VIP6/128 dev "$name" src $CLIENT6 ;;
        esac
        shift 2
    done
}

no_tunnels() {
    for name in t0 t1; do
        bal ip link del $name 2>/dev/null
    done
    true
}

tunnel_modes() {
    both="$VIP4 $VIP6"
    outer4="local $BALANCER4 remote $SERVER4" outer6="local $BALANCER6 remote $SERVER6"

    tunnels_to "t0 type gre $outer4" 46
    as_backend "gre over IPv4" "gre $both --local $SERVER4 --balancer $BALANCER4" "$both" \
        "echo 1 >/proc/sys/net/ipv4/conf/tg-gre/rp_filter" "reverse path on tg-gre"
    no_tunnels
    tunnels_to "t0 type ip6gre $outer6" 46
    as_backend "gre over IPv6" "gre $both --local $SERVER6" "$both" "ip link del tg-gre6" "tunnel ip6gre"
    no_tunnels

    tunnels_to "t0 type ipip $outer4" 4 "t1 type sit $outer4" 6
    as_backend "ipip over IPv4" "ipip $both --local $SERVER4" "$both" "ip link set tg-sit down" "tunnel sit"
    no_tunnels
    tunnels_to "t0 type ip6tnl mode any encaplimit none $outer6" 46
    as_backend "ipip over IPv6" "ipip $both --local fd00:B:0::11 --balancer fd00:b:0:0::2 --mss auto" "$both" "ip addr del $VIP4/32 dev lo" "VIP $VIP4"
    no_tunnels

    tunnels_to "t0 type ipip $outer4 encap fou encap-sport auto encap-dport 6080" 4 \
        "t1 type sit $outer4 encap fou encap-sport auto encap-dport 6080" 6
    as_backend "gue over IPv4" "gue $both --local $SERVER4 --device vip0" "$both" "ip fou del port 6080" "UDP port 6080"
    no_tunnels
    tunnels_to "t0 type ip6tnl mode any encaplimit none $outer6 encap fou encap-udp6-csum encap-sport auto encap-dport 7080" 46
    as_backend "gue over IPv6" "gue $both --local $SERVER6 --gue-port 7080" "$both" "ip -6 fou del port 7080" "GUE over IPv6"
    no_tunnels
}

direct() {
    mac=$(cat /sys/class/net/eth0/address)
    bal ip route add $VIP4/32 dev b0 src $CLIENT4
    bal ip -6 route add $VIP6/128 dev b0 src $CLIENT6
    bal ip neigh add $VIP4 lladdr "$mac" dev b0
    bal ip -6 neigh add $VIP6 lladdr "$mac" dev b0
    as_backend dsr "dsr $VIP4 $VIP6" "$VIP4 $VIP6" "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore" "ARP answers"
    # Silence is what the keys are for.
    $setup dsr $VIP4 >/dev/null
    bal arping -q -c 1 -w 1 -I b0 $VIP4 && fail "dsr: the server answers ARP for the VIP"
    $setup dsr $VIP4 --undo >/dev/null
    ip addr add $VIP4/32 dev lo
    bal arping -q -c 1 -w 1 -I b0 $VIP4 || fail "dsr: a server without the set-up would be silent as well"
    ip addr del $VIP4/32 dev lo
    bal ip route del $VIP4/32 dev b0
    bal ip -6 route del $VIP6/128 dev b0
}

# Packets come as the balancer sends them, from the client to the server's own address; the way to clients is a router that
# is not there.
translated() {
    bal ip addr del 10.1.0.254/24 dev b0
    bal ip addr del fd00:b::fe/64 dev b0
    # The server has learned its MAC address.
    ip neigh flush all
    ip -6 neigh flush all
    bal ip route add $SERVER4/32 dev b0 src $CLIENT4
    bal ip -6 route add $SERVER6/128 dev b0 src $CLIENT6
    as_backend "nat, one port" "nat --balancer $BALANCER4 --balancer $BALANCER6 --port 80" "$SERVER4 $SERVER6" \
        "ip rule del pref 7467" "port 80/tcp"
    $setup nat --balancer $BALANCER4 --port 80 >/dev/null
    asks $SERVER4 8080 && fail "nat: other ports go by the balancer as well"
    $setup nat --undo >/dev/null
    what="nat, all" arguments="nat --balancer $BALANCER4 --balancer $BALANCER6" vips="$SERVER4 $SERVER6"
    sets_up || said "the set-up fails"
    all_answer || said "not every request is answered after the set-up"
    sets_up --undo || said "the undo fails"
    as_before "the undo"
    $check full-nat >/dev/null || fail "full-nat needs something"
}

what=""
topology
modprobe -a fou fou6
everything >/tmp/before
first=yes
tunnel_modes
direct
translated
echo "PASS backend scripts"
