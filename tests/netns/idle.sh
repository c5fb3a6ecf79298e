#!/usr/bin/env bash
# What an idle balancer costs, and what its sleep costs the packet that ends it: CPU and round trips for each `idle`.
#
#   idle.sh            a case of run.sh: 20 round trips of each kind
#   idle.sh COUNT      more of them, for figures
set -u
. "$(dirname "$0")/lib.sh"

tg_require ping
tg_init idle
count=${1:-20}
for host in switch client balancer; do
    tg_host "$host"
done
tg_bridge clients
tg_attach client eth0 clients 10.0.0.7/24
tg_attach_dpdk wan clients
# shellcheck disable=SC2034 # for tg_config
TG_PORTS="
[[port]]
name = \"wan\"
device = \"${TG_VDEV}0,iface=wan\"
addresses = [\"10.0.0.2/24\"]
"

# CPU time of all threads of tidegate in microseconds.
cpu_us() { cat "/proc/$TG_PID"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d\n", sum / 1000 }'; }

# round_trips SECONDS COUNT: COUNT echo requests with so long a silence between; median, 99 % and the largest in us.
round_trips() {
    on client ping -n -i "$1" -c "$2" -W 2 10.0.0.2 >"$TG_DIR/ping.log" 2>&1 || tg_fail "not all of $2 pings are answered"
    sed -n 's/.*time=\([0-9.]*\) ms/\1/p' "$TG_DIR/ping.log" | sort -n | awk -v interval="$1" '
        { us[NR] = $1 * 1000 }
        END {
            high = int(NR * 0.99 + 0.5)
            printf "after %s s: median %d us, 99 %% %d us, largest %d us\n", interval, us[int((NR + 1) / 2)], us[high], us[NR]
        }'
}

# gauge NAME: of the only worker, over the last second, in percent.
gauge() {
    "$TIDEGATE" --socket "$TG_SOCKET" show workers --json |
        python3 -c 'import json, sys; print(round(100 * json.load(sys.stdin)["workers"][0][sys.argv[1]]))' "$1"
}

for idle in spin auto sleep; do
    tg_config "$TG_DIR/$idle.toml" 1
    sed -i "s/^mbufs.*/&\nidle = \"$idle\"/" "$TG_DIR/$idle.toml"
    tg_service web 192.0.2.10 gre maglev udp 10.0.0.7 | sed '/^\[service.health\]/,/^fall/d' >>"$TG_DIR/$idle.toml"
    tg_start "$TG_DIR/$idle.toml"
    on client ping -n -c 1 -W 5 10.0.0.2 >/dev/null 2>&1 || tg_fail "ping is not answered"
    sleep 2
    before=$(cpu_us)
    sleep 2
    percent=$((($(cpu_us) - before) / 20000))
    asleep=$(gauge sleep_share)
    tg_step "$idle: $percent % of a CPU, $asleep % of the time asleep"
    case $idle in
    spin) [ "$asleep" = 0 ] || tg_fail "idle = spin sleeps" ;;
    # An idle machine needs about a tenth of a CPU; this one may have much else to do.
    *) [ "$asleep" -gt 50 ] && [ "$percent" -lt 50 ] || tg_fail "idle = $idle looks busy" ;;
    esac
    for interval in 0.002 0.02 0.2; do
        tg_step "$idle: $(round_trips "$interval" "$count")"
    done
    kill -TERM "$TG_PID"
    wait "$TG_PID" || tg_fail "tidegate's exit status is not 0"
    tg_forget "$TG_PID"
done
tg_pass
