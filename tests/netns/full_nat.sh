#!/usr/bin/env bash
# full-nat between two ports with real nginx servers that learn the client's address: from the TCP option of TOA modules, read
# off the wire, and after a reload from a PROXY protocol header, IPv4 and IPv6, in the end over cables that lose, repeat
# and reorder frames. The servers have no route to the client: everything that reaches it went through tidegate.
set -u
. "$(dirname "$0")/lib.sh"

tg_require nginx
tg_init full_nat
tg_layout two-arm nat
for name in $TG_SERVERS; do
    ip -n "$(tg_ns "$name")" route del default
    ip -n "$(tg_ns "$name")" -6 route del default
done
LOCALS4='"10.1.0.200", "10.1.0.201"' LOCALS6='"fd00:b::200"'

CABLES=""
# bad_cable SIDE BRIDGE PEER: what was plugged into BRIDGE as PEER of the switch is behind a bad cable from now on.
bad_cable() {
    local side=$1 bridge=$2 peer=$3
    tg_bridge "$side-end"
    tg_host "$side"
    tg_attach "$side" near "$bridge"
    tg_attach "$side" far "$side-end"
    tg_sysctl "$side" net.ipv6.conf.near.disable_ipv6=1 net.ipv6.conf.far.disable_ipv6=1
    ip -n "$(tg_ns switch)" link set "$peer" master "$side-end"
    on_background "$side" "$side" python3 "$TG_LIB/bad_cable.py" near far --seed "${#side}"
    tg_await_line "$side" ready "$TG_LAST_PID"
    CABLES="$CABLES $side:$TG_LAST_PID"
}

# check_cable SIDE PID: it must have been as bad as it should.
check_cable() {
    local counts
    tg_end_processes "$2"
    tg_forget "$2"
    counts=$(tail -n 1 "$TG_DIR/$1.log")
    case $counts in
    *"'lost': 0"* | *"'repeated': 0"* | *"'reordered': 0"*) tg_fail "the cable '$1' was a good one: $counts" ;;
    *"'reordered': "*) tg_step "cable '$1': $counts" ;;
    *) tg_fail "the cable '$1' says nothing at its end" ;;
    esac
}

# told_service NAME VIP "BACKENDS" LOCALS CLIENT_ADDRESS
told_service() {
    tg_service "$1" "$2" full-nat maglev tcp "$3" |
        sed -e "/^scheduler/a local_addresses = [$4]\nclient_address = \"$5\"" \
            -e "/^\[service.health\]/,/^path/s/^port = 80/port = 8081/"
}

# configuration FILE CLIENT_ADDRESS [BACKENDS' PORT]
configuration() {
    tg_config "$1" 2
    {
        told_service web4 "$VIP4" "$TG_BACKENDS4" "$LOCALS4" "$2"
        told_service web6 "$VIP6" "$TG_BACKENDS6" "$LOCALS6" "$2"
    } | sed "${3:+/^weight/a port = $3}" >>"$1"
}

start_told_server() {
    local name=$1 prefix=$TG_DIR/nginx-$1 count=0
    mkdir -p "$prefix/put"
    ln -sf "$TG_DIR/megabyte" "$prefix/megabyte"
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@NAME@|$name|g" "$TG_LIB/nginx-proxy.conf.in" >"$prefix/nginx.conf"
    on_background "$name" "http-$name" nginx -p "$prefix" -e "$prefix/error.log" -c "$prefix/nginx.conf"
    until on "$name" curl -s -o /dev/null --max-time 1 http://127.0.0.1:8081/who; do
        count=$((count + 1))
        [ "$count" -lt 100 ] || tg_fail "nginx on $name does not start"
        sleep 0.1
    done
}

# The lines of all access logs for a URI.
logged() { awk -v uri="$1" '$8 == uri' "$TG_DIR"/nginx-s*/access.log; }

# check_told VIP CLIENT: what the servers log is what the client's own socket says.
check_told() {
    local vip=$1 client=$2 number line told
    for number in 1 2 3 4 5 6 7 8 9 10; do
        line=$(on client curl -sS --max-time 20 -w '%{local_ip} %{local_port}\n' "$(url "$vip" /from)") ||
            tg_fail "request $number to $vip breaks"
        told=$(echo "$line" | head -n 1)
        if [ "$told" != "$(echo "$line" | tail -n 1)" ] || [ "${told% *}" != "$client" ]; then
            tg_fail "a server behind $vip takes '$told' for the client, whose socket is '$(echo "$line" | tail -n 1)'"
        fi
    done
    line=$(logged /from | awk -v told="$told" -v vip="$vip" '$1 " " $2 == told && $3 == vip' | tail -n 1)
    # shellcheck disable=SC2086 # its words
    set -- $line
    [ "$3 $4" = "$vip 80" ] || tg_fail "the header names $3 $4 as the VIP, not $vip 80"
    case $5 in
    10.1.0.20[01] | fd00:b::200) ;;
    *) tg_fail "the server sees $5 and not a local address" ;;
    esac
    tg_step "$vip: nginx logs the client as $1 $2, and connections from $5"
}

# check_kept VIP: six requests on one connection, all of the same client.
check_kept() {
    local vip=$1 target lines port count=0 numbers=""
    target=$(url "$vip" /kept)
    lines=$(on client curl -sS --max-time 30 -w '%{num_connects} %{local_port}\n' \
        "$target" "$target" "$target" "$target" "$target" "$target" | grep ' ')
    [ "$(echo "$lines" | awk '{n += $1} END {print NR, n}')" = "6 1" ] || tg_fail "$vip: no keep-alive: $lines"
    port=${lines##* }
    # nginx writes its log behind the answer.
    until [ "$numbers" = "1 2 3 4 5 6 " ]; do
        count=$((count + 1))
        [ "$count" -lt 20 ] || tg_fail "$vip: the requests of one connection are logged as: $numbers"
        sleep 0.1
        numbers=$(logged /kept | awk -v port="$port" -v vip="$vip" '$2 == port && $3 == vip {print $6}' | tail -n 6 | tr '\n' ' ')
    done
    tg_step "$vip: six requests on one connection"
}

check_megabyte_down() {
    local sum
    sum=$(fetch_sha256 "$(url "$1" /megabyte)") || tg_fail "the download from $1 breaks"
    [ "$sum" = "$(sha256sum <"$TG_DIR/megabyte" | cut -d' ' -f1)" ] || tg_fail "1 MB from $1 arrives changed"
    tg_step "$1: download of 1 MB intact"
}

# check_option VIP CLIENT: connections of the client's own ports, each told to the server in its handshake.
check_option() {
    local vip=$1 client=$2 number port line
    for number in 1 2 3 4 5 6 7 8 9 10; do
        port=$(on client curl -sS --max-time 20 -o /dev/null -w '%{local_port}' "$(url "$vip" /who)") ||
            tg_fail "request $number to $vip breaks"
        line=$(cat "$TG_DIR"/toa-s?.log | awk -v client="$client" -v port="$port" '$3 == client && $4 == port')
        [ -n "$line" ] || tg_fail "no server behind $vip was told of $client $port"
    done
    tg_step "$vip: the option names $client $port to a server that sees ${line% "$client"*}"
}

check_megabyte() {
    local vip=$1 times=$2 number sum want name
    want=$(sha256sum <"$TG_DIR/megabyte" | cut -d' ' -f1)
    for number in $(seq "$times"); do
        sum=$(fetch_sha256 "$(url "$vip" /megabyte)") || tg_fail "download $number from $vip breaks"
        [ "$sum" = "$want" ] || tg_fail "download $number from $vip arrives with SHA-256 $sum instead of $want"
        name=up-$RANDOM-$number
        on client curl -sS --fail --max-time 60 -o /dev/null -T "$TG_DIR/megabyte" "$(url "$vip" "/put/$name")" ||
            tg_fail "upload $number to $vip breaks"
        cmp -s "$TG_DIR"/nginx-s?/put/"$name" "$TG_DIR/megabyte" || tg_fail "upload $number to $vip arrives changed"
    done
    tg_step "$vip: $times downloads and uploads of 1 MB intact"
}

head -c 1000000 /dev/urandom >"$TG_DIR/megabyte"
configuration "$TG_DIR/proxy.toml" proxy-v2
configuration "$TG_DIR/toa.toml" toa 8081
for name in $TG_SERVERS; do
    start_told_server "$name"
done
readers=""
# The option does not change the stream, so the servers' other port is good for it.
for name in $TG_SERVERS; do
    on_background "$name" "toa-$name" python3 "$TG_LIB/toa_reader.py" eth0 --port 8081
    tg_await_line "toa-$name" ready "$TG_LAST_PID"
    readers="$readers $TG_LAST_PID"
done
tg_start "$TG_DIR/toa.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_megabyte_down "$vip"
done
check_option "$VIP4" 10.0.0.7
check_option "$VIP6" fd00:a::7
for pid in $readers; do
    tg_end_processes "$pid"
    tg_forget "$pid"
done

"$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/proxy.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 60 3
    check_short "$vip" 500
    check_kept "$vip"
    check_megabyte "$vip" 2
done
check_told "$VIP4" 10.0.0.7
check_told "$VIP6" fd00:a::7

bad_cable out clients client-eth0
bad_cable in servers balancer-lan
for vip in "$VIP4" "$VIP6"; do
    check_kept "$vip"
    check_megabyte "$vip" 2
done
check_told "$VIP4" 10.0.0.7
check_told "$VIP6" fd00:a::7
tg_stop 5000
for cable in $CABLES; do
    check_cable "${cable%:*}" "${cable#*:}"
done
tg_pass
