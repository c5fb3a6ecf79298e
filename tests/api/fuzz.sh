#!/usr/bin/env bash
# Requests that schemathesis makes up from the API's own description, good ones and bad ones, against a running tidegate on a
# device that takes and gives nothing. Without schemathesis, and without a way to install it, it says SKIPPED and passes.
set -eu
cd "$(dirname "$0")/../.." || exit 1

TIDEGATE=${TIDEGATE:-${CARGO_TARGET_DIR:-$PWD/target}/release/tidegate}
EXAMPLES=${EXAMPLES:-8}
[ -x "$TIDEGATE" ] || {
    echo "fuzz.sh: $TIDEGATE is missing: run cargo build --release first" >&2
    exit 1
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-api.XXXXXX")
running=""
# shellcheck disable=SC2317 # by the trap
end() {
    [ -z "$running" ] || kill "$running" 2>/dev/null || true
    [ -z "$running" ] || wait "$running" 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

schemathesis=${SCHEMATHESIS:-$(command -v schemathesis || true)}
if [ -z "$schemathesis" ]; then
    if python3 -m venv "$dir/venv" >"$dir/pip.log" 2>&1 &&
        timeout 120 "$dir/venv/bin/pip" install -q 'schemathesis>=4,<5' >>"$dir/pip.log" 2>&1; then
        schemathesis=$dir/venv/bin/schemathesis
    else
        tail -n 2 "$dir/pip.log"
        echo "SKIPPED: schemathesis is not installed and pip cannot install it"
        exit 0
    fi
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
token=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
(umask 077 && echo "$token" >"$dir/token")
cat >"$dir/tidegate.toml" <<TOML
[dataplane]
connections = 20_000
mbufs = 4096
eal = ["--no-huge", "-m", "128", "--no-pci"]
idle = "sleep"
[control]
socket = "$dir/api.sock"
state_file = "none"
[control.api]
listen = "127.0.0.1:$port"
token_file = "$dir/token"
[[port]]
name = "wan"
device = "net_null0,no-rx=1"
addresses = ["10.0.0.2/24"]
gateway = "10.0.0.1"
host = "off"
[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
mode = "nat"
[[service.backend]]
name = "b1"
address = "10.1.0.11"
TOML

"$TIDEGATE" run --config "$dir/tidegate.toml" >"$dir/log" 2>&1 &
running=$!
base=http://127.0.0.1:$port
for _ in $(seq 150); do
    ! curl -sf -o /dev/null "$base/readyz" || break
    sleep 0.2
done
curl -sf "$base/readyz" >/dev/null || {
    cat "$dir/log"
    echo "fuzz.sh: tidegate is not ready" >&2
    exit 1
}

# Events never end. A good request may well be refused for what it means, and wrong tokens, which are slowed down, have tests of
# their own.
status=0
(cd "$dir" && timeout 120 "$schemathesis" run "$base/v1/openapi.json" --header "Authorization: Bearer $token" \
    --exclude-path /v1/events --exclude-path /v1/capture --exclude-checks positive_data_acceptance,ignored_auth --phases examples,coverage,fuzzing \
    --max-examples "$EXAMPLES" --max-time 30 --seed 1 --continue-on-failure --request-timeout 10 --no-color --warnings off) || status=$?

kill -0 "$running" || {
    cat "$dir/log"
    echo "fuzz.sh: tidegate has ended" >&2
    exit 1
}
curl -sf --unix-socket "$dir/api.sock" http://tidegate/healthz >/dev/null || status=1
if grep -n "panicked\|$token" "$dir/log"; then
    echo "fuzz.sh: the log has a panic, or the token" >&2
    status=1
fi
[ "$status" = 0 ] || tail -n 5 "$dir/log"
exit "$status"
