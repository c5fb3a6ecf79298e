#!/usr/bin/env bash
# tidegate capture beside real traffic: frames before and after with their verdicts, filters, drops, ends, floods:
# capture.sh [net_af_packet|net_af_xdp ...], both without arguments.
set -u
. "$(dirname "$0")/lib.sh"

if [ $# != 1 ]; then
    [ $# -gt 0 ] || set -- net_af_packet net_af_xdp
    for vdev in "$@"; do
        if [ "$vdev" = net_af_xdp ] && ! python3 -c 'import socket; socket.socket(44, socket.SOCK_RAW)' 2>/dev/null; then
            echo "SKIPPED: capture on net_af_xdp: no AF_XDP sockets here, or no permission to make one"
            continue
        fi
        "$0" "$vdev" || exit
    done
    exit 0
fi

TG_VDEV=$1
tg_require tcpdump
tg_init capture
tg_layout two-arm nat
tg_config "$TG_DIR/tidegate.toml" 2
tg_service web4 "$VIP4" nat maglev tcp "$TG_BACKENDS4" >>"$TG_DIR/tidegate.toml"
start_servers
tg_start "$TG_DIR/tidegate.toml"
await_service "$VIP4" 30 3
drivers=$(field "$("$TIDEGATE" --socket "$TG_SOCKET" show ports --json)" "' '.join(sorted({p['driver'] for p in r['ports']}))")
tg_step "on $drivers"
[ "$drivers" = "$TG_VDEV" ] || tg_fail "the ports have the driver $drivers, not $TG_VDEV"

# capture NAME ARGUMENTS...: in the background, until it looks on.
capture() {
    local name=$1 count=0
    shift
    "$TIDEGATE" --socket "$TG_SOCKET" capture "$@" >"$TG_DIR/$name.out" 2>"$TG_DIR/$name.err" &
    CAPTURE_PID=$!
    TG_PIDS="$TG_PIDS $CAPTURE_PID"
    until status | grep -q '"running":true'; do
        kill -0 "$CAPTURE_PID" 2>/dev/null || return 0
        count=$((count + 1))
        [ "$count" -lt 100 ] || tg_fail "$name does not begin: $(cat "$TG_DIR/$name.err")"
        sleep 0.05
    done
}

status() { curl -sS --unix-socket "$TG_SOCKET" http://tidegate/v1/capture; }

# finish NAME [SIGNAL]: the end of the capture, exit status 0.
finish() {
    [ -z "${2:-}" ] || kill "-$2" "$CAPTURE_PID"
    wait "$CAPTURE_PID" || tg_fail "$1 ends with $?: $(cat "$TG_DIR/$1.err")"
    tg_forget "$CAPTURE_PID"
}

read_file() { python3 "$TG_LIB/read_pcapng.py" "$TG_DIR/$1" || tg_fail "$1 is no pcapng file"; }

# holds JSON EXPRESSION WHAT
holds() { [ "$(field "$1" "$2")" = True ] || tg_fail "$3: $(echo "$1" | cut -c1-2000)"; }

# ---- a file with frames before and after
capture file -w "$TG_DIR/web.pcapng" "tcp port 80 and host 10.0.0.7"
load "$VIP4" 5 >/dev/null
sleep 0.2
finish file INT
# What comes for a connection that has just ended, or before a next hop is known, is there once; that is told apart.
file=$(read_file web.pcapng | python3 -c 'import json, sys
r = json.load(sys.stdin)
r["once"] = [p["comment"] for p in r["packets"] if not p["comment"].startswith("forwarded")]
r["packets"] = [p for p in r["packets"] if p["comment"].startswith("forwarded")]
json.dump({"once": r.pop("once"), **r}, sys.stdout)')
holds "$file" "[i['name'] for i in r['interfaces']] == ['wan', 'wan (out)', 'lan', 'lan (out)'] and r['interfaces'][0]['filter'] == 'tcp port 80 and host 10.0.0.7'" \
    "interfaces"
holds "$file" "len(r['packets']) >= 60 and len(r['packets']) % 2 == 0 and r['dropped'] == 0 and r['statistics'] == 4 and r['received'] == len(r['packets']) + len(r['once'])" \
    "each packet twice, and the figures at the end"
holds "$file" "len(r['once']) < 5 and all(c.startswith(('drop no_connection', 'held')) for c in r['once'])" "what is there once"
# Requests: the VIP (0a000064) becomes a server; replies: a server becomes the VIP. Payload and length stay.
holds "$file" "all((a['id'], a['ns'], a['len'], a['hex'][108:], a['comment']) == (b['id'], b['ns'], b['len'], b['hex'][108:], b['comment'])
  and (a['direction'], b['direction']) == (1, 2)
  and ((a['interface'], b['interface'], a['hex'][60:68], b['hex'][60:66], a['comment'][:19]) == ('wan', 'lan (out)', '0a000064', '0a0100', 'forwarded by lan (w')
    or (a['interface'], b['interface'], a['hex'][52:58], b['hex'][52:60], a['comment'][:19]) == ('lan', 'wan (out)', '0a0100', '0a000064', 'forwarded by wan (w'))
  for a, b in zip(r['packets'][::2], r['packets'][1::2]))" "frames before and after"
holds "$file" "abs(r['packets'][-1]['ns'] / 1e9 - __import__('time').time()) < 10" "the time of day"
[ "$(tcpdump -nr "$TG_DIR/web.pcapng" "tcp port 80 and host 10.0.0.7" 2>/dev/null | wc -l)" = "$(field "$file" "len(r['packets']) + len(r['once'])")" ] ||
    tg_fail "tcpdump reads it otherwise"
if command -v tshark >/dev/null; then
    tshark -r "$TG_DIR/web.pcapng" -T fields -e frame.interface_name -e frame.comment 2>/dev/null >"$TG_DIR/tshark.out"
    grep -q "^wan	forwarded by lan (worker" "$TG_DIR/tshark.out" && grep -q "^wan (out)	forwarded by wan (worker" "$TG_DIR/tshark.out" ||
        tg_fail "tshark reads no comments: $(head -n 3 "$TG_DIR/tshark.out")"
fi
tg_step "a capture of 5 connections: $(field "$file" "len(r['packets'])") frames before and after, read by tcpdump and our own reader"

# ---- lines, of what leaves for one server, and an end by count
capture lines -c 3 "dst host 10.1.0.11 and tcp[tcpflags] & tcp-syn != 0"
load "$VIP4" 40 >/dev/null
finish lines
[ "$(grep -cE '^[0-9:.]{18} wan IP 10\.0\.0\.7\.[0-9]+ > 10\.0\.0\.100\.80: Flags \[S\], length 0 -- forwarded by lan as IP 10\.0\.0\.7\.[0-9]+ > 10\.1\.0\.11\.80: Flags \[S\], length 0$' "$TG_DIR/lines.out")" = 3 ] ||
    tg_fail "lines: $(cat "$TG_DIR/lines.out")"
grep -qx "3 packets captured" "$TG_DIR/lines.err" || tg_fail "no summary: $(cat "$TG_DIR/lines.err")"
tg_step "lines of what matches as it leaves, and an end by count"

# ---- drops with their reason, by a pipe
"$TIDEGATE" --socket "$TG_SOCKET" capture -c 2 -w - "drop no_connection and portrange 4001-4002" 2>/dev/null >"$TG_DIR/drops.pcapng" &
CAPTURE_PID=$!
TG_PIDS="$TG_PIDS $CAPTURE_PID"
until status | grep -q '"running":true'; do sleep 0.05; done
on client python3 -c '
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for port in (4001, 4002):
    s.sendto(struct.pack("!HHIIBBHHH", port, 80, 1, 1, 0x50, 0x10, 512, 0, 0), ("'"$VIP4"'", 0))'
finish drops
drops=$(read_file drops.pcapng)
holds "$drops" "sorted((p['interface'], p['hex'][68:72]) for p in r['packets']) == [('wan', '0fa1'), ('wan', '0fa2')] and all(
  p['comment'].startswith('drop no_connection: Not the start of a connection') for p in r['packets'])" "drops"
tg_step "dropped packets with their reason, through a pipe"

# ---- one at a time, wrong words, --stop
capture first host 192.0.2.99
second=$("$TIDEGATE" --socket "$TG_SOCKET" capture -c 1 tcp 2>&1) && tg_fail "two at once"
echo "$second" | grep -q "a capture runs already (filter: host 192.0.2.99)" || tg_fail "the second one hears: $second"
wrong=$("$TIDEGATE" --socket "$TG_SOCKET" capture hots 10.0.0.1 2>&1)
[ $? = 2 ] && echo "$wrong" | grep -q "did you mean .host.?" || tg_fail "a misspelt word gets: $wrong"
"$TIDEGATE" --socket "$TG_SOCKET" capture --stop || tg_fail "--stop fails"
finish first
tg_step "one at a time; a misspelt word is named; --stop ends it"

# ---- a buffer of two packets: what does not fit is counted, and the traffic loses nothing
capture tiny --buffer 2 -w "$TG_DIR/tiny.pcapng" host 10.0.0.7
result=$(load "$VIP4" 50)
holds "$result" "r['failed'] == 0" "traffic beside a full buffer"
finish tiny INT
tiny=$(read_file tiny.pcapng)
holds "$tiny" "r['dropped'] > 100 and len(r['packets']) > 2" "what did not fit is counted"
grep -qE "^[0-9]+ packets captured, [0-9]+ not, because the buffer was full" "$TG_DIR/tiny.err" || tg_fail "no word of it: $(cat "$TG_DIR/tiny.err")"
tg_step "a buffer of 2 packets: $(field "$tiny" "r['dropped']") counted as lost, no connection fails"

# ---- a client that stops reading, and then goes
python3 - "$TG_SOCKET" >"$TG_DIR/deaf.log" 2>&1 <<'PYTHON' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(sys.argv[1])
s.sendall(b"POST /v1/capture HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n")
print(s.recv(15), flush=True)
time.sleep(60)
PYTHON
deaf=$!
TG_PIDS="$TG_PIDS $deaf"
until status | grep -q '"running":true'; do sleep 0.05; done
on client curl -sS --max-time 10 -o /dev/null "http://$VIP4/big" || tg_fail "a transfer beside a client that does not read"
result=$(load "$VIP4" 50)
holds "$result" "r['failed'] == 0" "traffic beside a client that does not read"
kill -KILL "$deaf"
wait "$deaf" 2>/dev/null
tg_forget "$deaf"
count=0
until status | grep -q '"running":false'; do
    count=$((count + 1))
    [ "$count" -lt 60 ] || tg_fail "the capture of a client that has gone still runs: $(status)"
    sleep 0.05
done
status | grep -q '"ended":"client gone"' || tg_fail "how it ended: $(status)"
tg_step "a client that does not read has no effect; when it goes the capture ends: $(status | cut -c1-120)"
tg_stop 300
tg_pass
