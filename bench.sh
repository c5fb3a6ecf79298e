#!/usr/bin/env bash
# tidegate beside DPDK's testpmd, on the same port device, packets and lcore, in turn: one table, one JSON file.
#
#   ./bench.sh                     everything; says first how long it will take
#   ./bench.sh --quick             a few small cases in about a minute, as a smoke test
#   ./bench.sh --list              name the cases
#   ./bench.sh --case PATTERN      only these, by a part of the name or a glob; may be repeated
#   ./bench.sh --repeat N --seconds S --json FILE
#   ./bench.sh --binary PATH       measure this tidegate instead of building one
#   ./bench.sh --against PATH      and another one beside it, for before and after
#
# Takes what needs no root without root. What is measured and what it means: docs/performance.md.
set -u
here=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive PATH="${HOME:-/}/.cargo/bin:$PATH"

give_up() {
    echo "bench.sh: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null && sudo -n "$@"
    fi
}

# What is missing, with the reason, in one apt call.
install_packages() {
    local missing="" package reason
    while read -r package reason; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
        missing="$missing $package"
        echo "missing: $package ($reason)"
    done <<EOF
libdpdk-dev DPDK, to build against
dpdk-dev testpmd, the yardstick
pkg-config finds DPDK's compiler flags
gcc links the program
libclang-dev reads DPDK's headers
clang brings the headers that libclang needs
python3 drives the measurement
EOF
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || give_up "this is no Debian or Ubuntu; install by hand:$missing"
    as_root true 2>/dev/null || give_up "packages are missing and this is not root: sudo apt-get install$missing"
    as_root apt-get update -q >/dev/null || give_up "apt-get update fails: is the network there?"
    # shellcheck disable=SC2086 # a list of packages
    as_root apt-get install -q -y --no-install-recommends $missing >/dev/null || give_up "apt-get cannot install$missing"
}

# Under sudo the toolchain and target/ belong to the user who called it.
as_builder() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        sudo -n -H -u "$SUDO_USER" env PATH="$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo/bin:$PATH" "$@"
    else
        "$@"
    fi
}

build() {
    local needed have
    pkg-config --exists 'libdpdk >= 22.11' ||
        give_up "DPDK is $(pkg-config --modversion libdpdk 2>/dev/null || echo missing), 22.11 or newer is needed to measure"
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
    have=$(as_builder cargo --version 2>/dev/null | awk '{print $2}')
    if [ -z "$have" ] || [ "$(printf '%s\n' "$needed" "$have" | sort -V | head -n 1)" != "$needed" ]; then
        give_up "cargo $needed or newer is needed, found ${have:-none}: install it with rustup (https://rustup.rs)"
    fi
    as_builder cargo build --release --quiet --workspace --manifest-path "$here/Cargo.toml" ||
        give_up "cargo build --release fails"
}

build=1
for argument in "$@"; do
    case $argument in
    -h | --help)
        sed -n '2,13s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --list) build="" ;;
    esac
done
if [ -n "$build" ]; then
    # Wrong usage is said before anything is installed or built.
    if command -v python3 >/dev/null; then
        python3 "$here/tests/bench/bench.py" --list "$@" >/dev/null || exit
    fi
    install_packages
    build
fi
target=${CARGO_TARGET_DIR:-$here/target}/release
exec python3 "$here/tests/bench/bench.py" --pktgen "$target/pktgen" --binary "$target/tidegate" "$@"
