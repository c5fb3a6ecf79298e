#!/usr/bin/env bash
# Very many frames through the whole packet path, without a fuzzer: right ones of every kind and changed ones, several workers,
# time that moves, and configurations with every mode that follow on each other.
#
#   fuzz/long.sh [FRAMES [SEED]]     100,000,000 frames from seed 1 unless given; a few minutes on one core
#
# It fails on a crash, on verdicts that do not add up, on an output that is wrong, on a hang and on memory that grows, and
# says the seed to meet that again with. The last lines say how many frames came to which end.
set -eu
cd "$(dirname "$0")/.."
for number in "${1:-1}" "${2:-1}"; do
    case $number in
    '' | *[!0-9_]*)
        echo "fuzz/long.sh: FRAMES and SEED are whole numbers, not '$number'" >&2
        exit 2
        ;;
    esac
done
FRAMES=${1:-100_000_000} SEED=${2:-1} exec cargo test --release --quiet -p tidegate --no-default-features --test fuzz_smoke -- \
    --ignored --exact long --nocapture
