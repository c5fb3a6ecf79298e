#!/usr/bin/env bash
# Tries every fuzz target for some seconds and says how many passed.
#
#   fuzz/smoke.sh [SECONDS]     20 each unless given
#
# With cargo-fuzz and a nightly compiler it fuzzes. Where one of them is missing it says so, and runs the same targets on
# their seeds and on random inputs instead, which any stable compiler can. It installs nothing.
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${1:-20}
case $seconds in
'' | *[!0-9]*)
    echo "fuzz/smoke.sh: SECONDS is a whole number, not '$seconds'" >&2
    exit 2
    ;;
esac
TARGETS="parse path config"
passed=0 failed=0

verdict() {
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1"
    fi
}

fall_back() {
    echo "################################ NO FUZZER: $1"
    echo "# The targets run on their seeds and on random inputs only, which finds far less. For a real run:"
    echo "#   rustup toolchain install nightly && cargo install --locked cargo-fuzz"
    # Not counted as the fault of a target.
    cargo test --quiet -p tidegate --no-default-features --test fuzz_smoke --no-run || exit 1
    for target in $TARGETS; do
        echo "==== $target, $seconds s without a fuzzer"
        FUZZ_SECONDS=$seconds cargo test --quiet -p tidegate --no-default-features --test fuzz_smoke -- --exact "$target" --nocapture
        verdict "$target" $?
    done
}

fuzz() {
    for target in $TARGETS; do
        echo "==== $target, $seconds s"
        mkdir -p "fuzz/corpus/$target"
        # What was found in earlier runs is in corpus, and the seeds are never written to.
        cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
            -max_total_time="$seconds" -max_len=2048 -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
        verdict "$target" $?
    done
}

if ! cargo +nightly --version >/dev/null 2>&1; then
    fall_back "there is no nightly compiler"
elif ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    fall_back "cargo-fuzz is not installed"
elif ! cargo +nightly fuzz build; then
    fall_back "the targets do not build with this nightly compiler"
else
    fuzz
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
