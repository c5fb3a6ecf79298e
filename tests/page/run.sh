#!/usr/bin/env bash
# The page in a real browser, against a real tidegate on a device that needs no hardware.
#
#   tests/page/run.sh [DIRECTORY]    screenshots go to the directory, if one is named
#
# TIDEGATE names the binary; else the release's, else the debug build's.
set -u
cd "$(dirname "$0")/../.." || exit 1
target=${CARGO_TARGET_DIR:-target}
binary=${TIDEGATE:-}
for built in "$target/release/tidegate" "$target/debug/tidegate"; do
    [ -n "$binary" ] || [ ! -x "$built" ] || binary=$built
done
[ -x "$binary" ] || {
    echo "run.sh: no tidegate is built: cargo build --release" >&2
    exit 1
}
for need in chromium chromedriver python3; do
    command -v "$need" >/dev/null || {
        echo "SKIPPED: $need is missing: apt-get install chromium chromium-driver python3-selenium"
        exit 0
    }
done
# The system's own: Debian's packages are for that one.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -c 'import selenium' 2>/dev/null || {
    echo "SKIPPED: python3-selenium is missing: apt-get install python3-selenium"
    exit 0
}

work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-page.XXXXXX") || exit 1
running=""
# shellcheck disable=SC2317 # called by the trap
cleanup() {
    [ -z "$running" ] || kill "$running" 2>/dev/null
    [ -z "$running" ] || wait "$running" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
token="page-test-$RANDOM$RANDOM$RANDOM$RANDOM"
(umask 077 && echo "$token" >"$work/token")
sed -e "s|@PORT@|$port|" -e "s|@DIR@|$work|" tests/page/config.toml >"$work/config.toml"
"$binary" --socket "$work/socket" run --config "$work/config.toml" --for 170 >"$work/log" 2>&1 &
running=$!
timeout 160 "$python" -B tests/page/check.py "http://127.0.0.1:$port/" "$token" "$binary" "$work/socket" "${1:-}"
status=$?
[ "$status" = 0 ] || tail -n 20 "$work/log"
exit "$status"
