#!/usr/bin/env bash
# Health checks against real servers: nginx over TLS with certificates good and bad, dnsmasq, pings and a program. Each way of
# being down shows with its reason, in `show backends` and in the log, and clients notice nothing of it.
set -u
. "$(dirname "$0")/lib.sh"

tg_require nginx openssl dnsmasq
tg_init health
tg_layout two-arm nat
SERVER_PID_s2="" SERVER_PID_s3=""
DNS4=10.0.0.101 PINGED4=10.0.0.102 ASKED4=10.0.0.103

# ---- servers ---------------------------------------------------------------------------------------------------

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$TG_DIR/$1.key" -out "$TG_DIR/$1.pem" 2>>"$TG_DIR/openssl.log" || tg_fail "openssl makes no authority"
}

# certificate SERVER AUTHORITY: for www.example.com.
certificate() {
    local prefix=$TG_DIR/nginx-$1
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=backend \
        -keyout "$prefix/key.pem" -out "$prefix/request.pem" 2>>"$TG_DIR/openssl.log" &&
        echo "subjectAltName = DNS:www.example.com" >"$prefix/extension" &&
        openssl x509 -req -days 2 -in "$prefix/request.pem" -CA "$TG_DIR/$2.pem" -CAkey "$TG_DIR/$2.key" -set_serial "$RANDOM" \
            -extfile "$prefix/extension" -out "$prefix/certificate.pem" 2>>"$TG_DIR/openssl.log" ||
        tg_fail "openssl makes no certificate"
}

start_tls_server() {
    local name=$1 prefix=$TG_DIR/nginx-$1 count=0
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@NAME@|$name|g" "$TG_LIB/health-nginx.conf.in" >"$prefix/nginx.conf"
    on_background "$name" "https-$name" nginx -p "$prefix" -e "$prefix/error.log" -c "$prefix/nginx.conf"
    eval "SERVER_PID_$name=$TG_LAST_PID"
    until on "$name" curl -sk -o /dev/null --max-time 1 https://127.0.0.1/who; do
        count=$((count + 1))
        [ "$count" -lt 100 ] || tg_fail "nginx on $name does not start"
        sleep 0.1
    done
}

# start_dns SERVER ADDRESS: knows health.example and nothing else.
start_dns() {
    on_background "$1" "dns-$1" dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= --conf-file=/dev/null \
        --log-facility=- --address="/health.example/$2"
    eval "DNS_PID_$1=$TG_LAST_PID"
}

stop_dns() {
    local pid
    eval "pid=\$DNS_PID_$1"
    tg_end_processes "$pid"
    tg_forget "$pid"
}

authority good
authority other
for name in $TG_SERVERS; do
    mkdir -p "$TG_DIR/nginx-$name" "$TG_DIR/fine"
    certificate "$name" good
    start_tls_server "$name"
    start_dns "$name" 192.0.2.80
    : >"$TG_DIR/fine/$name"
done

# ---- tidegate --------------------------------------------------------------------------------------------------

# checked_service NAME VIP PORT PROTOCOL, and the keys of its health checks on standard input
checked_service() {
    tg_service "$1" "$2" nat maglev "$4" "$TG_BACKENDS4" | sed -e "s/^port = 80/port = $3/" -e '/^\[service.health\]/,/^fall/d' >"$TG_DIR/service"
    sed '/^\[\[service.backend\]\]/,$d' "$TG_DIR/service"
    printf '[service.health]\ninterval = 0.5\ntimeout = 0.4\nrise = 1\nflap_hold = 0\nfall = 2\n'
    cat
    sed -n '/^\[\[service.backend\]\]/,$p' "$TG_DIR/service"
}

tg_config "$TG_DIR/config.toml" 1
{
    checked_service web "$VIP4" 443 tcp <<EOF
type = "https"
path = "/health"
host = "www.example.com"
ca_file = "$TG_DIR/good.pem"
status = [200, "204-206"]
body = "is well"
EOF
    checked_service dns "$DNS4" 53 udp <<EOF
type = "dns"
query = "health.example"
answer = "192.0.2.80"
EOF
    checked_service pinged "$PINGED4" 443 tcp <<EOF
type = "ping"
EOF
    checked_service asked "$ASKED4" 443 tcp <<EOF
type = "exec"
command = ["/bin/sh", "-c", "echo \$TIDEGATE_ADDRESS; test -e \$0/\$TIDEGATE_BACKEND || { echo no file >&2; exit 3; }", "$TG_DIR/fine"]
EOF
} >>"$TG_DIR/config.toml"
ulimit -S -n 1024
tg_start "$TG_DIR/config.toml"

# ---- what is said of them --------------------------------------------------------------------------------------

show() { "$TIDEGATE" --socket "$TG_SOCKET" show backends --json; }

# await_state SERVICE/BACKEND STATE "START OF THE REASON": 10 seconds at most.
await_state() {
    local said="" start=$SECONDS
    while [ $((SECONDS - start)) -lt 10 ]; do
        said=$(field "$(show)" "[b['state'] + ' ' + b['reason'] for b in r['backends'] if b['service'] + '/' + b['name'] == '$1'][0]")
        case $said in
        "$2 health check: $3"*)
            tg_step "$1: $said"
            return
            ;;
        esac
        sleep 0.1
    done
    tg_fail "$1 is '$said' after 10 seconds, not '$2 health check: $3...'"
}

# logged "PATTERN": a line that must be in the log.
logged() { grep -q "$1" "$TG_DIR/tidegate.log" || tg_fail "the log has no line '$1'"; }

# check_clients COUNT "SERVERS": each request through the VIP is answered over TLS, by all of these servers and no other.
check_clients() {
    local number answers
    answers=$(for number in $(seq "$1"); do
        on client curl -sS --max-time 5 --cacert "$TG_DIR/good.pem" --connect-to "www.example.com:443:$VIP4:443" https://www.example.com/who ||
            echo "request $number fails"
    done | sort -u | tr '\n' ' ')
    [ "$answers" = "$2 " ] || tg_fail "$VIP4 is answered by '$answers', not by '$2 '"
    tg_step "$VIP4: $1 requests over TLS, answered by $2"
}

for name in s1 s2 s3; do
    await_state "web/$name" up "status 200 with a good body"
    await_state "dns/$name" up "answers 192.0.2.80"
    await_state "pinged/$name" up "answers pings"
    await_state "asked/$name" up "exit status 0: 10.1.0.1"
done
check_clients 30 "s1 s2 s3"
files=$(awk '/^Max open files/ {print $4}' "/proc/$TG_PID/limits")
[ "$files" -gt 1024 ] || tg_fail "the limit of open files is still $files"

certificate s2 other
kill -HUP "$SERVER_PID_s2"
await_state web/s2 down "certificate is of an authority that is not trusted"
certificate s2 good
kill -HUP "$SERVER_PID_s2"
await_state web/s2 up "status 200"

stopped=$(cat "/proc/$SERVER_PID_s3/task/$SERVER_PID_s3/children")
# shellcheck disable=SC2086 # a list of ids
kill -STOP $stopped
await_state web/s3 down "timed out after 400 ms: no end of the TLS handshake"
# shellcheck disable=SC2086
kill -CONT $stopped
await_state web/s3 up "status 200"

crash_server s1
await_state web/s1 down "connection refused"
logged 'WARN.*backend web/s1 down after .* s: connection refused, 2 of 3 left'
check_clients 20 "s2 s3"
start_tls_server s1
await_state web/s1 up "status 200"
check_clients 30 "s1 s2 s3"

stop_dns s1
await_state dns/s1 down "port unreachable"
stop_dns s2
start_dns s2 192.0.2.81
await_state dns/s2 down "192.0.2.81, expected 192.0.2.80"
logged 'backend dns/s2 down after .*, 1 of 3 left'

rm "$TG_DIR/fine/s2"
await_state asked/s2 down "exit status 3: no file"
: >"$TG_DIR/fine/s2"
await_state asked/s2 up "exit status 0: 10.1.0.12"

# What is known of backends outlives a reload, even if they are checked in another way from now on.
states() { field "$(show)" "sorted((b['service'], b['name'], b['health'], b['since_s'] > 0.5) for b in r['backends'])"; }
# The last of them came up just now; by now it is long enough ago to be told from a new start.
sleep 1
before=$(states)
sed 's/^fall = 2/fall = 3/' "$TG_DIR/config.toml" >"$TG_DIR/slower.toml"
"$TIDEGATE" reload --socket "$TG_SOCKET" "$TG_DIR/slower.toml" >"$TG_DIR/reload.log" 2>&1 || tg_fail "reload fails"
[ "$(states)" = "$before" ] || tg_fail "a reload changes what is known of the backends: $before, then $(states)"
tg_step "a reload keeps the state of all backends, and since when"

ip -n "$(tg_ns s3)" link set eth0 down
await_state pinged/s3 down ""

# Programs are started several times a second all along.
zombies=$(cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$TG_PID" '$3 == "Z" && $4 == parent' | wc -l)
[ "$zombies" -le 3 ] || tg_fail "$zombies programs of checks are not reaped"
tg_stop 100
tg_pass
