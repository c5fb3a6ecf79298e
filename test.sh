#!/usr/bin/env bash
# Every check there is, each runner with its own summary; the last line counts the steps. Asks nothing.
#
#   ./test.sh          all of it, in less than 40 minutes on two cores
#   ./test.sh --fast   without real traffic, fuzzing, the demo and the benchmarks
#
# What a missing permission or tool makes impossible is skipped with a banner, never silently.
set -u
cd "$(dirname "$0")" || exit 1
exec </dev/null
# Half the time of a build goes into what only debuggers read.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_TEST_DEBUG=line-tables-only
export DEBIAN_FRONTEND=noninteractive CARGO_TERM_PROGRESS_WHEN=never PATH="${HOME:-/}/.cargo/bin:$PATH"

fast=""
for argument in "$@"; do
    case $argument in
    --fast) fast=1 ;;
    *)
        echo "test.sh: unknown option $argument; there is --fast" >&2
        exit 2
        ;;
    esac
done

# A quiet machine with everything installed needs about 33 minutes; a busy or a new one gets more before it is cut off.
SECONDS_MAX=3300
passed=0 failed=0 skipped=0
results=""
log=$(mktemp "${TMPDIR:-/tmp}/tidegate-test.XXXXXX")
running=""
trap 'rm -f "$log"' EXIT
trap 'end_step; exit 130' INT
trap 'end_step; exit 143' TERM HUP

# ---- steps -----------------------------------------------------------------------------------------------------

banner() {
    echo
    echo "################################ SKIPPED: $1"
    echo "# $2"
}

skip() {
    banner "$1" "$2"
    skipped=$((skipped + 1))
    results="$results
  SKIPPED  $1: $2"
}

# limited SECONDS COMMAND...: cut off at its limit; Ctrl-C, which a command under `timeout` does not see, ends it as well.
limited() {
    local output copier status=0
    exec {output}> >(trap '' INT; exec tee "$log")
    copier=$!
    # A job of its own: without job control it would ignore the interrupts that its tests send.
    set -m
    timeout --kill-after=30 "$@" >&"$output" 2>&1 {output}>&- &
    running=$!
    set +m
    exec {output}>&-
    wait "$running" || status=$?
    running=""
    while kill -0 "$copier" 2>/dev/null; do sleep 0.05; done
    return "$status"
}

end_step() {
    trap '' INT TERM HUP
    [ -n "$running" ] || return
    kill -TERM "$running" 2>/dev/null
    wait "$running"
}

# What the last step says of its failures, once more for those who read the summary alone.
reasons() {
    grep -E '^ *FAIL |^FAIL|\.\.\. FAILED$|panicked at|^error' "$log" | awk '{ sub(/^ */, "") } !seen[$0]++ && ++n <= 12 { printf "\n             %s", substr($0, 1, 180) }'
}

# step NAME SECONDS COMMAND...: its output as it comes, cut off at its own limit and at the limit of all.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    [ "$limit" -lt $((SECONDS_MAX - SECONDS)) ] || limit=$((SECONDS_MAX - SECONDS))
    echo
    echo "==== $name: $*"
    if [ "$limit" -le 0 ]; then
        status=124
    else
        limited "$limit" "$@" || status=$?
    fi
    case $status in
    0)
        passed=$((passed + 1))
        results="$results
  passed   $name ($((SECONDS - start)) s)"
        return 0
        ;;
    124) echo "test.sh: $name did not end within $limit seconds" ;;
    esac
    failed=$((failed + 1))
    results="$results
  FAILED   $name (exit status $status, $((SECONDS - start)) s)$(reasons)"
    return 1
}

# ---- what is missing -------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null && sudo -n "$@"
    fi
}

install_missing() {
    local missing="" package
    for package in libdpdk-dev dpdk-dev libclang-dev clang pkg-config gcc libc6-dev python3 python3-scapy \
        ethtool iproute2 iputils-ping nginx-light curl tcpdump openssl dnsmasq-base shellcheck valgrind tmux zsh fish groff-base \
        chromium chromium-driver python3-selenium qemu-system-x86 cpio busybox-static; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "installing what is missing:$missing"
    # shellcheck disable=SC2086 # a list of packages
    as_root apt-get update -q >/dev/null &&
        as_root apt-get install -q -y --no-install-recommends $missing >"$log" 2>&1 ||
        skip "packages" "cannot install$missing; what needs them fails or is skipped"
}

need_rust() {
    local needed have
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(cargo --version 2>/dev/null | awk '{print $2}')
    if [ -n "$have" ] && [ "$(printf '%s\n' "$needed" "$have" | sort -V | head -n 1)" = "$needed" ]; then
        echo "cargo $have"
        return
    fi
    echo "test.sh: cargo $needed or newer is needed, found '${have:-none}': install it with rustup (https://rustup.rs)" >&2
    exit 1
}

# ---- the checks ------------------------------------------------------------------------------------------------

scripts_are_sound() {
    local file status=0
    for file in ./*.sh .ci/run benches/*.sh config/*.sh fuzz/*.sh tests/api/*.sh tests/backend/*.sh tests/netns/*.sh tests/page/*.sh; do
        bash -n "$file" || status=1
    done
    python3 -c 'import ast, sys; [ast.parse(open(path).read(), path) for path in sys.argv[1:]]' tests/netns/*.py tests/bench/*.py || status=1
    python3 -B -m unittest discover -q -s tests/bench -p "test_*.py" || status=1
    if command -v shellcheck >/dev/null; then
        shellcheck -x -e SC1091,SC2119,SC2129,SC2015 ./*.sh .ci/run benches/*.sh config/*.sh fuzz/*.sh tests/api/*.sh tests/backend/*.sh tests/netns/*.sh tests/page/*.sh || status=1
    fi
    return $status
}
export -f scripts_are_sound

rust_checks() {
    step "format" 60 cargo fmt --all --check
    step "clippy" 900 cargo clippy --quiet --workspace --all-targets -- -D warnings
    step "clippy without DPDK" 300 cargo clippy --quiet -p tidegate --no-default-features --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" step "documentation" 600 cargo doc --quiet --no-deps --workspace
    if cargo nextest --version >/dev/null 2>&1; then
        step "tests" 1200 cargo nextest run --workspace --no-fail-fast
        step "documentation tests" 600 cargo test --workspace --doc
    else
        echo "cargo-nextest is not installed; cargo test runs the same tests"
        step "tests" 1200 cargo test --workspace --no-fail-fast
    fi
    step "layers without DPDK" 600 cargo test -p tidegate --no-default-features --lib
}

dependencies() {
    [ -f deny.toml ] || return 0
    if cargo deny --version >/dev/null 2>&1; then
        step "dependencies" 120 cargo deny --offline check licenses bans sources
    else
        # Building it takes longer than all other checks together.
        skip "dependencies" "cargo-deny is not installed: cargo install --locked cargo-deny"
    fi
}

real_traffic() {
    step "release build" 1200 cargo build --release --quiet --workspace || return
    if [ "$(id -u)" != 0 ] && as_root true 2>/dev/null; then
        step "real traffic" 900 sudo -n tests/netns/run.sh
    else
        step "real traffic" 900 tests/netns/run.sh
    fi
    # It passes when cases are skipped; that must not go unseen.
    if ! tail -n 1 "$log" | grep -q ', 0 skipped$'; then
        skip "real traffic, in part or whole" "$(grep -m 1 '^SKIPPED' "$log")"
    fi
}

backend_scripts() {
    step "backend scripts" 300 tests/backend/run.sh
    # It passes when it cannot run; that must not go unseen.
    if grep -q '^SKIPPED' "$log"; then
        skip "backend scripts" "$(grep -m 1 '^SKIPPED' "$log")"
    fi
}

fuzz_smoke() {
    [ -x fuzz/smoke.sh ] || return 0
    step "fuzzing" 900 fuzz/smoke.sh 15
    if grep -q '^#* NO FUZZER' "$log"; then
        skip "fuzzing with a fuzzer" "$(sed -n 's/^#* NO FUZZER: //p' "$log"); random inputs ran instead"
    fi
}

api_fuzz() {
    step "API by its description" 240 tests/api/fuzz.sh || return
    if grep -q '^SKIPPED' "$log"; then
        skip "API by its description" "$(grep -m 1 '^SKIPPED' "$log")"
    fi
}

# The page in a real browser.
page() {
    step "page" 170 tests/page/run.sh || return
    if grep -q '^SKIPPED' "$log"; then
        skip "page in a browser" "$(sed -n 's/^SKIPPED: //p' "$log")"
    fi
}

# Each bench once, without figures; and instructions, which are the same on any machine.
parts() {
    step "benches" 600 cargo bench --quiet --bench parts -- --test || return
    if command -v valgrind >/dev/null; then
        step "instructions" 300 benches/instructions.sh
    else
        skip "instructions" "valgrind is missing and could not be installed: apt-get install valgrind"
    fi
}

install_missing
need_rust
step "scripts" 60 bash -c scripts_are_sound
rust_checks
dependencies
if [ -z "$fast" ]; then
    real_traffic
    api_fuzz
    page
    backend_scripts
    fuzz_smoke
    if as_root true 2>/dev/null; then
        step "demo" 180 ./demo.sh
    else
        skip "demo on real traffic" "not root: it replays a capture instead"
        step "demo, replay" 180 ./demo.sh
    fi
    [ ! -x bench.sh ] || step "benchmark" 300 ./bench.sh --quick
    parts
else
    skip "real traffic, fuzzing, demo, benchmarks" "--fast was asked for"
fi

echo
echo "==== summary$results"
echo "all steps together took $SECONDS s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
