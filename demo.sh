#!/usr/bin/env bash
# tidegate's main job on real traffic: network namespaces for a client, a router, the balancer and three HTTP servers.
#
#   ./demo.sh              install what is missing, build, show, clean up
#   ./demo.sh --keep       leave it running afterwards
#   ./demo.sh --stop [ID]  end what --keep left running
#
# As root, or as a user who may use sudo without a password; as anybody else it replays a capture instead.
# Every line it prints about the traffic is checked: exit status 0 means that all of it was so.
set -u
cd "$(dirname "$0")" || exit 1
export DEBIAN_FRONTEND=noninteractive

keep="" stop="" id="" only_traffic="" without_dpdk=""
for argument in "$@"; do
    case $argument in
    --keep) keep=1 ;;
    --stop) stop=1 ;;
    --traffic) only_traffic=1 ;; # the second half of a run that went through sudo
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*)
        echo "demo.sh: unknown option $argument; there are --keep and --stop [ID]" >&2
        exit 2
        ;;
    *) id=$argument ;;
    esac
done

. tests/netns/lib.sh

give_up() {
    echo "demo.sh: $*" >&2
    exit 1
}

say() { printf '\n%s\n' "$*"; }

# A command and what it prints, indented.
show() {
    echo "   \$ $1"
    shift
    "$@" 2>&1 | sed 's/^/     /'
}

# ---- getting ready ---------------------------------------------------------------------------------------------

# How to become root: nothing to add, `sudo -n`, or not at all (status 1).
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

have_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# What is missing, with the reason, in one apt call.
install_packages() {
    local missing="" package reason
    while read -r package reason; do
        have_package "$package" && continue
        missing="$missing $package"
        echo "   missing: $package ($reason)"
    done <<EOF
libdpdk-dev DPDK, to build against
pkg-config finds DPDK's compiler flags
gcc links the program
libclang-dev reads DPDK's headers
clang brings the headers that libclang needs
iproute2 makes the network namespaces
ethtool switches checksum offloads off on virtual cables
curl is the client
python3 runs the HTTP servers
EOF
    if [ -z "$missing" ]; then
        echo "   every package is there"
        return
    fi
    command -v apt-get >/dev/null || give_up "this is no Debian or Ubuntu; install by hand:$missing"
    if ! as_root true; then
        echo "   without root they stay missing: sudo apt-get install$missing"
        return
    fi
    echo "   installing them, which takes a minute or two"
    as_root apt-get update -q >/dev/null || give_up "apt-get update fails: is the network there?"
    # shellcheck disable=SC2086 # a list of packages
    as_root apt-get install -q -y --no-install-recommends $missing >/dev/null || give_up "apt-get cannot install$missing"
    echo "   installed"
}

# Under sudo the toolchain and target/ belong to the user who called it.
as_builder() {
    local home=${HOME:-/}
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        sudo -n -H -u "$SUDO_USER" env PATH="$home/.cargo/bin:$PATH" "$@"
    else
        PATH="$home/.cargo/bin:$PATH" "$@"
    fi
}

rust_version() { as_builder cargo --version 2>/dev/null | awk '{print $2}'; }

rust_is_new_enough() {
    local have
    have=$(rust_version)
    [ -n "$have" ] && [ "$(printf '%s\n' "$1" "$have" | sort -V | head -n 1)" = "$1" ]
}

need_rust() {
    local needed answer mend="install it with rustup (https://rustup.rs)"
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    rust_is_new_enough "$needed" && return
    if as_builder rustup --version >/dev/null 2>&1 && [ -n "$(rust_version)" ]; then
        mend="rustup update stable && rustup default stable"
    elif apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]' && as_root true; then
        echo "   missing: cargo $needed or newer; apt's rustup fetches it, which takes a minute or two"
        as_root apt-get install -q -y --no-install-recommends rustup >/dev/null || give_up "apt-get cannot install rustup"
        answer=$(as_builder rustup default stable 2>&1) ||
            give_up "rustup cannot fetch the stable toolchain: $(printf '%s\n' "$answer" | grep -v '^info' | head -n 3)"
    fi
    rust_is_new_enough "$needed" || give_up "cargo $needed or newer is needed, found $(rust_version | grep . || echo none):" \
        "$mend, then run ./demo.sh again"
}

build() {
    local options="" start=$SECONDS
    if ! pkg-config --exists 'libdpdk >= 22.11' 2>/dev/null; then
        options="--no-default-features"
        without_dpdk="DPDK is $(pkg-config --modversion libdpdk 2>/dev/null || echo missing), 22.11 or newer is needed"
        echo "   $without_dpdk: only what does without it is built"
    fi
    [ -x "$TIDEGATE" ] || echo "   the first time takes some minutes, in silence"
    # shellcheck disable=SC2086
    as_builder cargo build --release $options --quiet || give_up "cargo build --release fails"
    echo "   $TIDEGATE is there, after $((SECONDS - start)) s"
}

# ---- real traffic ----------------------------------------------------------------------------------------------

# Requests, each on a connection of its own, with curl; the answers (the servers' names) go to $TG_DIR/answers.
ask() {
    on client curl -s --max-time 10 --connect-timeout 1 -H 'Connection: close' "http://$1/who?[1-$2]" >"$TG_DIR/answers"
}

answers() { grep -c "${1:-.}" "$TG_DIR/answers" || true; }

# The table server -> answers, with a bar.
spread() {
    local name count
    for name in $TG_SERVERS; do
        count=$(answers "^$name\$")
        printf '     %-4s %4d  %s\n' "$name" "$count" "$(printf '%*s' "$((count / 5))" '' | tr ' ' '#')"
    done
}

# Bytes that tidegate has sent on its only port.
sent_bytes() { on switch cat /sys/class/net/balancer-net/statistics/rx_bytes; }

# Start the servers and tidegate with a NAT and a GRE service, and wait until all three servers answer through both.
set_up() {
    tg_init demo
    tg_layout one-arm nat+gre
    tg_config "$TG_DIR/tidegate.toml" 1
    {
        tg_service web "$VIP4" nat maglev tcp "$TG_BACKENDS4"
        tg_service direct "$GRE_VIP4" gre maglev tcp "$TG_BACKENDS4"
    } >>"$TG_DIR/tidegate.toml"
    start_servers
    tg_start "$TG_DIR/tidegate.toml"
    await_service "$VIP4" 30 3
    await_service "$GRE_VIP4" 30 3
}

show_nat() {
    local name
    say "4. NAT: 300 requests with curl to http://$VIP4/who, each on a connection of its own"
    ask "$VIP4" 300
    spread
    [ "$(answers)" = 300 ] || tg_fail "only $(answers) of 300 requests were answered"
    for name in $TG_SERVERS; do
        [ "$(answers "^$name\$")" -ge 60 ] || tg_fail "$name got $(answers "^$name\$") of 300 requests"
    done
    check_client_address "$VIP4" 10.0.0.7 | sed 's/^  /     /'
    [ "${PIPESTATUS[0]}" = 0 ] || exit 1
}

show_failure() {
    local start count=0
    say "5. s2 is killed (kill -9); health checks run twice a second"
    crash_server s2
    start=$(date +%s%N)
    until ask "$VIP4" 30 && [ "$(answers)" = 30 ] && [ "$(answers '^s2$')" = 0 ]; do
        count=$((count + 1))
        [ "$count" -lt 40 ] || tg_fail "requests still fail after s2 was killed"
        sleep 0.1
    done
    echo "     out of rotation, all requests answered again, after $((($(date +%s%N) - start) / 1000000)) ms"
    ask "$VIP4" 300
    spread
    [ "$(answers)" = 300 ] || tg_fail "only $(answers) of 300 requests were answered after the failure"
    [ "$(answers '^s2$')" = 0 ] || tg_fail "s2 is dead and has answers"
    start_server s2
    await_service "$VIP4" 30 3
    await_service "$GRE_VIP4" 30 3
    echo "     s2 started again, and back in rotation"
}

# How much passes tidegate when the client downloads 10 MB from VIP; the sum in BYTES.
download_through() {
    local before sum
    before=$(sent_bytes)
    sum=$(fetch_sha256 "http://$1/big") || tg_fail "the download from $1 breaks"
    [ "$sum" = "$PAYLOAD_SHA256" ] || tg_fail "10 MB from $1 did not arrive as they were sent"
    BYTES=$(($(sent_bytes) - before))
}

show_gre() {
    local name
    say "6. GRE: the same through http://$GRE_VIP4/who; each server takes the tunnel off and answers the client itself"
    ask "$GRE_VIP4" 300
    spread
    [ "$(answers)" = 300 ] || tg_fail "only $(answers) of 300 requests were answered through GRE"
    for name in $TG_SERVERS; do
        [ "$(answers "^$name\$")" -ge 30 ] || tg_fail "$name got $(answers "^$name\$") of 300 requests through GRE"
    done
    check_client_address "$GRE_VIP4" 10.0.0.7 | sed 's/^  /     /'
    [ "${PIPESTATUS[0]}" = 0 ] || exit 1
    download_through "$VIP4"
    [ "$BYTES" -ge 10000000 ] || tg_fail "with NAT 10 MB must pass tidegate, not $BYTES bytes"
    echo "     a download of 10 MB arrives intact: with NAT $((BYTES / 1000)) kB of it pass tidegate;"
    download_through "$GRE_VIP4"
    [ "$BYTES" -le 2000000 ] || tg_fail "with GRE the download must not pass tidegate, but $BYTES bytes did"
    echo "     with GRE $((BYTES / 1000)) kB, the request and the acknowledgements: the server returns the rest directly"
}

show_services() {
    say "7. What tidegate says about it"
    show "tidegate show services" "$TIDEGATE" --socket "$TG_SOCKET" show services
    "$TIDEGATE" --socket "$TG_SOCKET" show services >"$TG_DIR/services" || tg_fail "tidegate show services fails"
    local vip
    for vip in "$VIP4" "$GRE_VIP4"; do
        grep -qF "$vip" "$TG_DIR/services" || tg_fail "tidegate show services does not list $vip"
    done
}

leave_running() {
    TG_KEEP=1
    echo "$TG_NAMESPACES" >"$TG_DIR/namespaces"
    say "It stays, as you asked. To try next, as root:"
    cat <<EOF
   ip netns exec $(tg_ns client) curl http://$VIP4/who
   $TIDEGATE --socket $TG_SOCKET show services
   $TIDEGATE --socket $TG_SOCKET show connections
   $TIDEGATE --socket $TG_SOCKET show drops
   $TIDEGATE --socket $TG_SOCKET reload $TG_DIR/tidegate.toml     (edit it first: state = "drain" at a backend)
   ./demo.sh --stop $(basename "$TG_DIR" | cut -d. -f2)
EOF
}

# End a demo that --keep left: all that runs in its namespaces, by process id, and its files.
stop_kept() {
    local found="" folder
    for folder in "${TMPDIR:-/tmp}"/tidegate-demo.*; do
        [ -z "$id" ] || [ "${folder##*.}" = "$id" ] || continue
        # Only what root wrote: the directory is open to everybody.
        if [ -f "$folder/namespaces" ] && [ "$(stat -c %u "$folder")" = 0 ]; then
            found="$found $folder"
        fi
    done
    # shellcheck disable=SC2086
    set -- $found
    [ $# != 0 ] || give_up "no demo is running that --keep left"
    [ $# = 1 ] || give_up "several demos are running, say which: $(printf '%s ' "${@##*.}")"
    # shellcheck disable=SC2046
    tg_remove_namespaces $(tr ' ' '\n' <"$1/namespaces" | grep -E '^tg-[0-9]+-[a-z0-9]+$')
    tg_remove_runtime_files "$(grep -oE 'tg-[0-9]+' "$1/namespaces" | head -n 1)"
    rm -rf "$1"
    echo "stopped ${1##*.}"
}

real_traffic() {
    [ -z "$keep" ] || export TIDEGATE_TEST_OUTLIVE=1
    say "3. Network namespaces: client - router - [tidegate s1 s2 s3]; no NIC, no hugepages, no kernel module"
    set_up
    echo "     three HTTP servers run, and tidegate polls its port; all three answer through it"
    show_nat
    show_failure
    show_gre
    show_services
    if [ -n "$keep" ]; then
        leave_running
        return
    fi
    tg_stop 5000 >"$TG_DIR/stop"
    say "8. Stopped with SIGTERM: every packet is accounted for"
    sed 's/^  SIGTERM: exit status 0; /     /' "$TG_DIR/stop"
    say "All of it worked. To try next:"
    cat <<EOF
   sudo ./demo.sh --keep                                  the same, left running, to look around in
   $TIDEGATE check config/laptop.toml
   $TIDEGATE --help
EOF
    [ ! -x bench.sh ] || echo "   ./bench.sh                                             figures beside testpmd's"
}

# ---- without root ----------------------------------------------------------------------------------------------

replay() {
    local spread figures
    say "3. No real traffic ($1): a capture is replayed instead"
    [ -z "$keep" ] || echo "     nothing of it is left running, --keep is for real traffic"
    TG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-replay.XXXXXX")
    trap 'rm -rf "$TG_DIR"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    command -v python3 >/dev/null || give_up "python3 is missing: it makes the capture"
    python3 tests/netns/replay_capture.py make "$TG_DIR" >/dev/null || give_up "cannot make the capture"
    echo "     300 connections to 192.0.2.10:80 in one second of traffic; backend s2 goes down half-way"
    "$TIDEGATE" replay --config "$TG_DIR/tidegate.toml" --in "$TG_DIR/in.pcap" --out "$TG_DIR/out.pcap" \
        --events "$TG_DIR/events.jsonl" --stats "$TG_DIR/stats.json" >"$TG_DIR/replay.log" 2>&1 ||
        give_up "tidegate replay fails: $(tail -n 3 "$TG_DIR/replay.log")"
    spread=$(python3 tests/netns/replay_capture.py check "$TG_DIR") || give_up "the replayed packets are not right"
    say "4. What came out: each packet in a GRE tunnel to one backend, unchanged; connections over the backends:"
    echo "     $spread"
    echo "     no connection changed its backend, none began on s2 after it went down"
    say "5. What tidegate says about it: every packet is accounted for"
    figures=$(python3 tests/netns/check_stats.py "$TG_DIR/stats.json" --rx-min 900 2>&1) || give_up "$figures"
    echo "     $figures"
    say "All of it worked. To try next: sudo ./demo.sh (real traffic), $TIDEGATE --help"
}

# ---- the run ---------------------------------------------------------------------------------------------------

if [ -n "$stop" ]; then
    as_root true || give_up "--stop needs root: sudo ./demo.sh --stop $id"
    if [ "$(id -u)" != 0 ]; then
        exec sudo -n "./$(basename "$0")" --stop ${id:+"$id"}
    fi
    stop_kept
    exit
fi
[ -z "$id" ] || give_up "$id: only --stop takes a word"
if [ -z "$only_traffic" ]; then
    say "1. Packages"
    install_packages
    say "2. Build (cargo build --release)"
    if [ -x "${TIDEGATE_DEMO_BINARY:-}" ]; then
        TIDEGATE=$TIDEGATE_DEMO_BINARY
        echo "   TIDEGATE_DEMO_BINARY is set: $TIDEGATE"
    else
        need_rust
        build
    fi
fi
if [ -n "$without_dpdk" ]; then
    replay "$without_dpdk"
elif [ "$(id -u)" = 0 ]; then
    obstacle=$(tg_obstacle)
    if [ -z "$obstacle" ]; then
        real_traffic
    else
        replay "$obstacle"
    fi
elif as_root true 2>/dev/null; then
    sudo -n env TIDEGATE="$TIDEGATE" "./$(basename "$0")" --traffic ${keep:+--keep}
else
    replay "not root, and sudo would ask for a password"
fi
