#!/usr/bin/env bash
# Under systemd the log goes to journald by its own protocol, with the fields of each line, as `journalctl -o json` shows them.
set -u
. "$(dirname "$0")/lib.sh"

tg_require
tg_init journal
tg_layout two-arm nat
start_server s1
start_server s3
tg_config "$TG_DIR/config.toml" 1
tg_service web "$VIP4" nat maglev tcp "$TG_BACKENDS4" >>"$TG_DIR/config.toml"

# `ip netns exec` gives a command mounts of its own, so nobody else sees this journal.
cat >"$TG_DIR/under-systemd" <<EOF
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal || exit 1
python3 "$TG_LIB/journal_reader.py" /run/systemd/journal/socket >"$TG_DIR/journal" 2>&1 &
until grep -q ready "$TG_DIR/journal"; do sleep 0.1; done
JOURNAL_STREAM=\$(stat -L -c %d:%i /proc/self/fd/2) exec "$TIDEGATE" run --config "$TG_DIR/config.toml" --stats "$TG_DIR/stats.json"
EOF
on_background balancer tidegate sh "$TG_DIR/under-systemd"
# shellcheck disable=SC2034 # for tg_stop
TG_PID=$TG_LAST_PID TG_STATS=$TG_DIR/stats.json

# journal EXPRESSION: of each entry, as Python sees it, one a line.
journal() {
    python3 -c 'import json, sys
for line in open(sys.argv[1]):
    if line.startswith("{"):
        r = json.loads(line)
        print(eval(sys.argv[2]))' "$TG_DIR/journal" "$1"
}

count=0
until journal "r.get('BACKEND')" 2>/dev/null | grep -qx s2; do
    count=$((count + 1))
    [ "$count" -lt 200 ] || tg_fail "the journal has nothing of s2 after 20 seconds"
    sleep 0.1
done
expected="web s2 down 4 2 3 True connection refused"
keys="'SERVICE', 'BACKEND', 'STATE', 'PRIORITY', 'LEFT', 'ALL'"
found=$(journal "' '.join(r.get(key, '-') for key in ($keys)) + ' %s ' % r.get('HELD_S', '').isdigit() + r.get('REASON', '-')" | grep " s2 ")
[ "$found" = "$expected" ] || tg_fail "the journal says '$found', not '$expected'"
journal "r['MESSAGE']" | grep -q "^backend web/s2 down after .*: connection refused, 2 of 3 left$" ||
    tg_fail "the journal lacks the sentence"
tg_step "journal: $(journal "r['MESSAGE']" | grep s2), with its fields"
if grep -q "web/s2" "$TG_DIR/tidegate.log"; then
    tg_fail "standard error has the line as well"
fi
"$TIDEGATE" --socket "$TG_SOCKET" backend drain web/s3 >"$TG_DIR/command.log" || tg_fail "drain fails"
found=$(journal "r.get('BACKEND', '-') + ' ' + r.get('STATE', '-') + ' ' + r.get('REASON', '-')" | grep "^s3 ")
[ "$found" = "s3 drain by command" ] || tg_fail "the journal says '$found' of the drain"
tg_step "journal: a drain by command as well"
tg_stop 0
tg_pass
