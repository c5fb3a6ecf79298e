# shellcheck shell=bash
# What the cases check, from the client's side; lib.sh sources it.

# ---- the client's view -----------------------------------------------------------------------------------------

# A VIP as it stands in a URL.
url() {
    case $1 in
    *:*) echo "http://[$1]$2" ;;
    *) echo "http://$1$2" ;;
    esac
}

# load VIP CONNECTIONS [options]: the JSON line of load.py.
load() {
    local vip=$1 connections=$2
    shift 2
    on client python3 "$TG_LIB/load.py" "$vip" --connections "$connections" "$@"
}

# field JSON EXPRESSION: a Python expression over `r`, the JSON object.
field() { python3 -c 'import json, sys; r = json.loads(sys.argv[1]); print(eval(sys.argv[2]))' "$1" "$2"; }

# Wait until VIP answers N connections in a row, from SERVERS servers; 15 seconds at most.
await_service() {
    local vip=$1 connections=$2 servers=$3 result="" start=$SECONDS
    shift 3
    while [ $((SECONDS - start)) -lt 15 ]; do
        result=$(load "$vip" "$connections" --timeout 1 "$@")
        [ "$(field "$result" "r['failed'] == 0 and len(r['by']) == $servers")" = True ] && return 0
        sleep 0.2
    done
    tg_fail "$vip${*:+ $*} does not answer from $servers servers within 15 seconds: $result"
}

# The SHA-256 of what a URL gives to the client.
fetch_sha256() { on client curl -sS --fail --max-time 60 "$@" | sha256sum | cut -d' ' -f1; }

# ---- checks ----------------------------------------------------------------------------------------------------

check_ping() {
    local answer
    answer=$(on client ping -n -c 5 -i 0.2 -W 2 "$1") || tg_fail "no answer to ping $1: $answer"
    echo "$answer" | grep -q ' 0% packet loss' || tg_fail "ping $1 loses packets: $answer"
    tg_step "ping $1: 5 of 5 answered"
}

# check_ping_through VIP: it is servers that answer pings of it now.
check_ping_through() {
    local before after
    before=$(echoes_of_servers)
    check_ping "$1"
    after=$(echoes_of_servers)
    [ $((after - before)) -ge 5 ] || tg_fail "ping $1: the servers saw $((after - before)) of 5"
    tg_step "ping $1: all of them by servers"
}

# Pings that the servers' kernels have got so far.
echoes_of_servers() {
    local name sum=0 count
    for name in $TG_SERVERS; do
        # shellcheck disable=SC2016 # a program of awk's
        count=$(on "$name" awk '
            /^Icmp:/ && !at { for (i = 1; i <= NF; i++) if ($i == "InEchos") at = i; next }
            /^Icmp:/ { sum += $at }
            $1 == "Icmp6InEchos" { sum += $2 }
            END { print sum }' /proc/net/snmp /proc/net/snmp6)
        sum=$((sum + count))
    done
    echo "$sum"
}

# check_short VIP CONNECTIONS [options]: none may fail or stall, each server takes at least a tenth.
check_short() {
    local vip=$1 connections=$2 result
    result=$(load "$@")
    # A lost SYN only shows as a second of silence. A busy machine may lose one, a fault does so every time.
    if [ "$(field "$result" "r['stalled']")" != 0 ]; then
        result=$(load "$@")
        [ "$(field "$result" "r['stalled']")" = 0 ] || tg_fail "$vip: connections stall for 0.9 s and more: $result"
    fi
    [ "$(field "$result" "r['ok']")" = "$connections" ] || tg_fail "$vip: not every connection succeeds: $result"
    [ "$(field "$result" "len(r['by']) == 3 and min(r['by'].values()) * 10 >= $connections")" = True ] ||
        tg_fail "$vip: the spread over the servers is wrong: $result"
    shift 2
    tg_step "$vip${*:+ $*}: $connections short connections, none failed: $(field "$result" "r['by']") in $(field "$result" "r['seconds']") s"
}

# check_fragments VIP: datagrams of 4,000 bytes there and back, which kernels cut into fragments and put together again.
check_fragments() {
    local vip=$1 result
    result=$(load "$vip" 200 --udp --size 4000)
    # A busy machine may lose one, a fault does so every time.
    [ "$(field "$result" "r['ok']")" = 200 ] || result=$(load "$vip" 200 --udp --size 4000)
    [ "$(field "$result" "r['ok'] == 200 and len(r['by']) == 3")" = True ] ||
        tg_fail "$vip: not every datagram in fragments is answered: $result"
    tg_step "$vip: 200 datagrams of 4,000 bytes in fragments, all answered: $(field "$result" "r['by']")"
}

# The client sends no packets above this many bytes through its gateways.
client_mtu() {
    ip -n "$(tg_ns client)" route replace default via 10.0.0.254 mtu "$1" || tg_fail "cannot set the client's MTU"
    ip -n "$(tg_ns client)" -6 route replace default via fd00:a::fe mtu "$1" || tg_fail "cannot set the client's MTU"
}

# The servers must see the client's own address.
check_client_address() {
    local seen
    seen=$(on client curl -sS --max-time 10 "$(url "$1" /from)")
    [ "$seen" = "$2" ] || tg_fail "behind $1 a server sees '$seen' instead of the client, $2"
    tg_step "$1: the servers see the client, $2"
}

check_big() {
    local sum
    sum=$(fetch_sha256 "$(url "$1" /big)") || tg_fail "the download from $1 breaks"
    [ "$sum" = "$PAYLOAD_SHA256" ] || tg_fail "10 MB from $1 arrive with SHA-256 $sum instead of $PAYLOAD_SHA256"
    tg_step "$1: 10 MB intact"
}

# Full-sized packets towards the server: in a tunnel they do not fit, so the client must be told (RFC 1191, 8201).
check_upload() {
    local sum body=$TG_DIR/body
    head -c 1000000 /dev/urandom >"$body"
    sum=$(on client curl -sS --fail --max-time 30 --data-binary "@$body" "$(url "$1" /upload)") ||
        tg_fail "the upload to $1 breaks"
    [ "$sum" = "$(sha256sum <"$body" | cut -d' ' -f1)" ] || tg_fail "1 MB to $1 arrives changed: $sum"
    tg_step "$1: upload of 1 MB intact"
}

# Neighbours must have been asked for: the client's side learnt ADDRESS with the port's own MAC by itself.
check_resolved() {
    local address=$1 device=$2 mac entry
    mac=$(ip -n "$(tg_ns balancer)" link show dev "$device" | awk '/link\/ether/ {print $2}')
    entry=$(ip -n "$(tg_ns "$TG_ASKS")" neigh show "$address")
    case $entry in
    *PERMANENT*) tg_fail "$address is a static neighbour" ;;
    *"lladdr $mac "*) tg_step "$address resolved to tidegate's $device" ;;
    *) tg_fail "$TG_ASKS has '$entry' for $address instead of $mac" ;;
    esac
}

# start_slow VIP: six downloads of five seconds in the background; SLOW_SERVERS says where each one comes from.
start_slow() {
    local number count=0 server
    SLOW_PIDS="" SLOW_SERVERS=""
    rm -f "$TG_DIR"/slow-*
    for number in 1 2 3 4 5 6; do
        on_background client slow curl -sS --fail --max-time 60 -D "$TG_DIR/slow-$number.head" \
            -o "$TG_DIR/slow-$number" "$(url "$1" /slow)"
        SLOW_PIDS="$SLOW_PIDS $TG_LAST_PID"
    done
    for number in 1 2 3 4 5 6; do
        until [ -s "$TG_DIR/slow-$number" ]; do
            count=$((count + 1))
            [ "$count" -lt 50 ] || tg_fail "the slow downloads from $1 do not begin"
            sleep 0.1
        done
        server=$(tr -d '\r' <"$TG_DIR/slow-$number.head" | sed -n 's/^X-Server: //p')
        SLOW_SERVERS="$SLOW_SERVERS $server"
    done
}

# They must be on their way.
slow_runs() {
    local pid
    for pid in $SLOW_PIDS; do
        kill -0 "$pid" 2>/dev/null || tg_fail "a slow download was over before $1"
    done
}

# finish_slow WHAT [VICTIM]: those that do not come from VICTIM must be complete and right.
finish_slow() {
    local number=0 intact=0 pid status server sum
    for pid in $SLOW_PIDS; do
        number=$((number + 1))
        status=0
        wait "$pid" || status=$?
        tg_forget "$pid"
        server=$(echo "$SLOW_SERVERS" | cut -d' ' -f$((number + 1)))
        [ "$server" != "${2:-}" ] || continue
        [ "$status" = 0 ] || tg_fail "a download from $server that ran through $1 broke: curl exit status $status"
        sum=$(sha256sum <"$TG_DIR/slow-$number" | cut -d' ' -f1)
        [ "$sum" = "$PAYLOAD_SHA256" ] || tg_fail "a download from $server that ran through $1 arrived changed"
        intact=$((intact + 1))
    done
    tg_step "$1: $intact downloads were on their way from$SLOW_SERVERS and arrived intact"
}

# check_reload VIP NEW.toml: NEW must be in force after it, with s1 at weight 0, and no connection broken.
check_reload() {
    local vip=$1 file=$2 result
    start_slow "$vip"
    "$TIDEGATE" reload --socket "$TG_SOCKET" "$file" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
    slow_runs "the reload"
    await_service "$vip" 60 2
    result=$(load "$vip" 100)
    [ "$(field "$result" "r['ok'] == 100 and 's1' not in r['by']")" = True ] ||
        tg_fail "after the reload s1 has weight 0, yet: $result"
    finish_slow "reload"
}

# check_crash VIP: a killed server leaves the rotation, comes back, and downloads from the others do not notice.
check_crash() {
    local vip=$1 name victim="" result start
    start_slow "$vip"
    # At least the first download must live on.
    for name in $TG_SERVERS; do
        [ "$name" = "$(echo "$SLOW_SERVERS" | cut -d' ' -f2)" ] || victim=$name
    done
    slow_runs "the crash"
    crash_server "$victim"
    start=$SECONDS
    await_service "$vip" 60 2
    result=$(load "$vip" 200)
    [ "$(field "$result" "r['ok'] == 200 and '$victim' not in r['by']")" = True ] ||
        tg_fail "$victim is dead, yet: $result"
    tg_step "$vip: $victim killed, out of rotation after $((SECONDS - start)) s; 200 of 200 from the others"
    finish_slow "$victim's crash" "$victim"
    start_server "$victim" "${2:-python}"
    await_service "$vip" 60 3
    tg_step "$vip: $victim back in rotation"
}

tg_pass() { echo "PASS $(basename "$0" .sh)"; }
