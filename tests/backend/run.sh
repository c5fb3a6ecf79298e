#!/usr/bin/env bash
# config/backend-setup.sh and backend-check.sh on a Linux that has every tunnel: Debian's cloud kernel in an emulator, with
# busybox, `ip` and the scripts, half a minute. No root, no KVM and no change to this machine; the kernel's package is
# unpacked under target/ once. Passes where it cannot run, with a line that begins with SKIPPED.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
store=${CARGO_TARGET_DIR:-$top/target}/backend-kernel
SECONDS_MAX=290

skip() {
    echo "SKIPPED backend scripts: $*"
    exit 0
}

for tool in qemu-system-x86_64 cpio dpkg apt-get ip dash; do
    command -v "$tool" >/dev/null || skip "$tool is missing: apt-get install qemu-system-x86 cpio iproute2"
done
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 || skip "a static busybox is missing: apt-get install busybox-static"
[ "$(uname -m)" = x86_64 ] || skip "the guest is x86-64"

# ---- wrong usage, which needs no guest ------------------------------------------------------------------------

said=$(mktemp "${TMPDIR:-/tmp}/tidegate-backend.XXXXXX")
trap 'rm -f "$said"' EXIT
for line in "" "nt" "gre" "dsr 192.0.2" "nat" "dsr 192.0.2.10 --port 0" "gre 192.0.2.10 --local 203.0.113.99" \
    "gue 192.0.2.10 --gue-port x" "dsr 192.0.2.10 --what" "gre dsr 192.0.2.10" "dsr 192.0.2.10;reboot" "dsr 192.0.2.10 --device a/b"; do
    status=0
    # shellcheck disable=SC2086 # a list
    "$top/config/backend-setup.sh" $line --dry-run >"$said" 2>&1 || status=$?
    if [ "$status" != 2 ] || ! grep -q '^backend-setup.sh: ' "$said"; then
        echo "FAIL backend scripts: '$line' is no wrong usage (exit status $status)" >&2
        cat "$said" >&2
        exit 1
    fi
done

# ---- the kernel ------------------------------------------------------------------------------------------------

fetch_kernel() {
    local package work
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || skip "no package linux-image-cloud-amd64: Debian has it, after apt-get update"
    work=$store.$$
    mkdir -p "$work"
    trap 'rm -rf "$work" "$said"' EXIT
    (cd "$work" && apt-get download -q "$package" >/dev/null 2>&1 && dpkg -x ./*.deb . && rm ./*.deb) || skip "cannot get $package"
    rm -rf "$store"
    mv "$work" "$store"
}

kernel() { ls "$store"/boot/vmlinuz-* 2>/dev/null; }
[ -n "$(kernel)" ] || fetch_kernel

# ---- its first and only file system ----------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-backend.XXXXXX")
trap 'rm -rf "$work" "$said"' EXIT
root=$work/root
mkdir -p "$root"/{bin,sbin,proc,sys,dev,run,tmp,etc,config}
cp "$busybox" "$root/bin/busybox"
# busybox has both as well, but its `ip` knows no tunnels and its shell would take no other. Libraries are where they are looked for.
for program in ip dash; do
    program=$(command -v "$program")
    cp "$program" "$root/bin/"
    ldd "$program" | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "$root/$(dirname "$file")"
        cp -L "$file" "$root/$file"
    done
done
ln -s dash "$root/bin/sh"
release=$(basename "$(kernel)")
release=${release#vmlinuz-}
modules=lib/modules/$release
mkdir -p "$root/$modules"
cp "$store/$modules"/modules.{builtin,order} "$root/$modules/"
for module in ip_gre gre ipip ip_tunnel tunnel4 sit ip6_gre ip6_tunnel tunnel6 fou fou6 udp_tunnel ip6_udp_tunnel dummy veth; do
    file=$(cd "$store" && find "$modules" -name "$module.ko")
    [ -z "$file" ] || { mkdir -p "$root/$(dirname "$file")" && cp "$store/$file" "$root/$file"; }
done
"$busybox" depmod -b "$root" "$release" || skip "busybox has no depmod"
cp "$top"/config/backend-*.sh "$root/config/"
cp "$here/guest.sh" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initrd"

# ---- run -------------------------------------------------------------------------------------------------------

timeout --foreground --kill-after=5 "$SECONDS_MAX" qemu-system-x86_64 -accel tcg -m 256 -nic none -nographic -no-reboot \
    -kernel "$(kernel)" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off audit=0 norandmaps" \
    </dev/null 2>&1 | tr -d '\r' | sed 's/^.*\x1bc//; s/\x1b\[[0-9;?]*[a-zA-Z]//g' >"$work/log"
grep -E '^(  |PASS|FAIL)' "$work/log"
if ! grep -q '^PASS' "$work/log"; then
    echo "FAIL backend scripts: the guest did not come to its end; its last lines:" >&2
    tail -n 30 "$work/log" >&2
    exit 1
fi
