#!/usr/bin/env bash
# Schedulers with real connections through NAT: turns that come out exactly, a client that stays with its server, a server that gets
# no more connections than it may, and long connections that keep new ones away.
set -u
. "$(dirname "$0")/lib.sh"

tg_require
tg_init schedulers
tg_layout two-arm nat

# service NAME VIP SCHEDULER LINES: as tg_service, with lines of the service's own.
service() {
    case $2 in
    *:*) tg_service "$1" "$2" nat "$3" tcp "$TG_BACKENDS6" 300 ;;
    *) tg_service "$1" "$2" nat "$3" tcp "$TG_BACKENDS4" 300 ;;
    esac | sed "/^scheduler/s/\$/\n$4/"
}

# configuration FILE SCHEDULER WORKERS LINES
configuration() {
    tg_config "$1" "$3"
    service web4 "$VIP4" "$2" "$4" >>"$1"
    service web6 "$VIP6" "$2" "$4" >>"$1"
}

reload() {
    "$TIDEGATE" reload --socket "$TG_SOCKET" "$1" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload of $1 fails"
}

# counts JSON: how many connections s1, s2 and s3 got.
counts() { field "$1" "' '.join(str(r['by'].get(s, 0)) for s in ('s1', 's2', 's3'))"; }

# check_counts WHAT VIP CONNECTIONS "S1 S2 S3": one connection after the other.
check_counts() {
    local result
    result=$(load "$2" "$3" --parallel 1)
    [ "$(field "$result" "r['failed']")" = 0 ] || tg_fail "$1: connections fail: $result"
    [ "$(counts "$result")" = "$4" ] || tg_fail "$1: s1, s2 and s3 get $(counts "$result") of $3 connections instead of $4"
    tg_step "$1, $2: s1, s2 and s3 get $4 of $3"
}

for scheduler in rr wrr lc sh; do
    configuration "$TG_DIR/$scheduler.toml" "$scheduler" 1 ""
done
configuration "$TG_DIR/persistent.toml" rr 1 'persistence = "10m"'
configuration "$TG_DIR/limited.toml" rr 1 ""
sed -i '/^name = "s2"/a connections_max = 2' "$TG_DIR/limited.toml"
sed '/^name = "s[23]"/a state = "drain"' "$TG_DIR/lc.toml" >"$TG_DIR/alone.toml"

start_servers python
tg_start "$TG_DIR/rr.toml"
for vip in "$VIP4" "$VIP6"; do
    await_service "$vip" 30 3
    check_counts rr "$vip" 300 "100 100 100"
done

reload "$TG_DIR/wrr.toml"
for vip in "$VIP4" "$VIP6"; do
    check_counts "wrr, weights 300, 100, 100" "$vip" 500 "300 100 100"
done

reload "$TG_DIR/sh.toml"
for vip in "$VIP4" "$VIP6"; do
    result=$(load "$vip" 50 --parallel 5)
    [ "$(field "$result" "(r['ok'], len(r['by']))")" = "(50, 1)" ] || tg_fail "sh: one client has several servers: $result"
    tg_step "sh, $vip: 50 connections of one client, all to $(field "$result" "list(r['by'])[0]")"
done

reload "$TG_DIR/persistent.toml"
for vip in "$VIP4" "$VIP6"; do
    result=$(load "$vip" 60 --parallel 6)
    [ "$(field "$result" "(r['ok'], len(r['by']))")" = "(60, 1)" ] || tg_fail "persistence: one client has several servers: $result"
    tg_step "rr with persistence, $vip: 60 connections of one client, all to $(field "$result" "list(r['by'])[0]")"
done

# connections_of SERVICE/BACKEND
connections_of() {
    "$TIDEGATE" show backends --json --socket "$TG_SOCKET" |
        python3 -c 'import json, sys
service, name = sys.argv[1].split("/")
print(*[b["connections"] for b in json.load(sys.stdin)["backends"] if (b["service"], b["name"]) == (service, name)])' "$1"
}

# Until no connection of web4 is closing any more.
await_quiet() {
    local start=$SECONDS
    while [ "$(connections_of web4/s1) $(connections_of web4/s2) $(connections_of web4/s3)" != "0 0 0" ]; do
        [ $((SECONDS - start)) -lt 40 ] || tg_fail "connections of web4 do not end"
        sleep 0.5
    done
}

# long_ones COUNT: so many downloads of five seconds, one after the other.
long_ones() {
    local number
    for number in $(seq "$1"); do
        on_background client "slow-$number" curl -sS --max-time 60 -o "$TG_DIR/slow-$number" "$(url "$VIP4" /slow)"
        sleep 0.1
    done
}

reload "$TG_DIR/lc.toml"
await_quiet
long_ones 6
long="$(connections_of web4/s1) $(connections_of web4/s2) $(connections_of web4/s3)"
[ "$long" = "2 2 2" ] || tg_fail "lc: six long connections are spread as $long"
tg_step "lc: six long connections are spread as $long"
reload "$TG_DIR/limited.toml"
check_counts "rr, s2 has its two connections" "$VIP4" 40 "20 0 20"

# Six at s1 alone: the next twelve, which count until they have been closed for a while, are for the others.
reload "$TG_DIR/alone.toml"
await_quiet
long_ones 6
[ "$(connections_of web4/s1)" = 6 ] || tg_fail "lc: s1 alone has $(connections_of web4/s1) of six long connections"
reload "$TG_DIR/lc.toml"
check_counts "lc, s1 has six long connections" "$VIP4" 12 "0 6 6"
tg_stop 3000
tg_pass
