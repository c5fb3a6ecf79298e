#!/usr/bin/env bash
# Every case of this directory, or those named; the last line says how many passed, failed and were skipped.
set -u
cd "$(dirname "$0")" || exit 1
passed=0 failed=0 skipped=0
[ $# -gt 0 ] || set -- nat_two_arm nat_one_arm full_nat gre_dsr dsr idle vlan jumbo partial host_path pmtud tunnel_dsr fragments health health_vip backends schedulers journal capture
for case in "$@"; do
    echo "== $case"
    status=0
    timeout --foreground --kill-after=20 300 "./$case.sh" </dev/null || status=$?
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "FAIL $case (exit status $status)"
        ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
