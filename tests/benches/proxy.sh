#!/bin/sh
# Compares Serin's proxy with nginx: same machine, same backend, same client, in turns.
#
# Usage: tests/benches/proxy.sh            (about a minute and a half)
#   ROUNDS=4 SECONDS_EACH=8 CONNECTIONS=64 THREADS=2   change the load
#   SERIN_PROXY=path                                   use this binary instead of building one
#
# The backend is an nginx of its own that answers 200 with 1 KB. Both proxies keep connections to
# it alive. Everything shares the machine's cores, the client too, so the ratios count and the
# absolute figures do not. Needs nginx and wrk; installs them with apt-get where they are missing.
set -eu
cd "$(dirname "$0")/../.."

ROUNDS=${ROUNDS:-4}
SECONDS_EACH=${SECONDS_EACH:-8}
CONNECTIONS=${CONNECTIONS:-64}
THREADS=${THREADS:-2}
BACKEND=127.0.0.1:19081
NGINX=127.0.0.1:19082
SERIN=127.0.0.1:19083

install_missing() {
    command -v "$1" >/dev/null && return
    echo "installing $2" >&2
    apt-get install -y --no-install-recommends "$2" >/dev/null 2>&1 ||
        { apt-get update >/dev/null && apt-get install -y --no-install-recommends "$2" >/dev/null; }
}
install_missing nginx nginx-light
install_missing wrk wrk

if [ -z "${SERIN_PROXY:-}" ]; then
    cargo build --release --quiet -p rollout-routers --example proxy
    SERIN_PROXY=${CARGO_TARGET_DIR:-target}/release/examples/proxy
fi

work=$(mktemp -d)
pids=
stop() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Writes an nginx configuration: name, listen address, then what it does on standard input.
configure() {
    mkdir -p "$work/$1"
    cat >"$work/$1/nginx.conf" <<END
daemon off;
pid $work/$1/pid;
error_log $work/$1/error.log;
worker_processes $3;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $work/$1/body;
  proxy_temp_path $work/$1/proxy;
  fastcgi_temp_path $work/$1/fastcgi;
  uwsgi_temp_path $work/$1/uwsgi;
  scgi_temp_path $work/$1/scgi;
$(cat)
}
END
}
kilobyte=$(head -c 1024 /dev/zero | tr '\0' 'x')
configure backend "$BACKEND" 1 <<END
  server { listen $BACKEND backlog=4096; location / { return 200 "$kilobyte"; } }
END
configure proxy "$NGINX" auto <<END
  upstream backend { server $BACKEND; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen $NGINX backlog=4096;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host \$host;
      proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto \$scheme;
      proxy_set_header X-Forwarded-Host \$host;
    }
  }
END

nginx -p "$work/backend" -c "$work/backend/nginx.conf" 2>/dev/null & pids="$pids $!"
nginx -p "$work/proxy" -c "$work/proxy/nginx.conf" 2>/dev/null & pids="$pids $!"
# The proxy ends with its standard input, hence the pipe that stays open.
mkfifo "$work/open"
"$SERIN_PROXY" "$SERIN" "$BACKEND" <"$work/open" >"$work/serin.log" & pids="$pids $!"
exec 3>"$work/open"

for address in "$BACKEND" "$NGINX" "$SERIN"; do
    tries=0
    until wrk -t1 -c1 -d1s "http://$address/" 2>/dev/null | grep -q 'requests in'; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || { echo "nothing answers on $address" >&2; exit 1; }
        sleep 0.2
    done
done

# Prints "requests/s p50 p99 errors", the times in milliseconds.
measure() {
    wrk -t"$THREADS" -c"$CONNECTIONS" -d"${SECONDS_EACH}s" --latency "http://$1/" | awk '
        function ms(t) { return t ~ /us$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
        /Requests\/sec/ { rate = $2 }
        $1 == "50%" { p50 = ms($2) }
        $1 == "99%" { p99 = ms($2) }
        /Socket errors|Non-2xx/ { errors = 1 }
        END { printf "%.0f %.2f %.2f %s\n", rate, p50, p99, errors ? "errors" : "-" }'
}

echo "$CONNECTIONS connections, $THREADS client threads, $SECONDS_EACH s each, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
printf '%-7s %-7s %10s %8s %8s %s\n' round proxy 'requests/s' 'p50 ms' 'p99 ms' errors
round=1
while [ "$round" -le "$ROUNDS" ]; do
    for name in nginx serin; do
        address=$NGINX
        [ "$name" = nginx ] || address=$SERIN
        result=$(measure "$address")
        echo "$name $result" >>"$work/results"
        # shellcheck disable=SC2086 # four words on purpose
        printf '%-7s %-7s %10s %8s %8s %s\n' "$round" "$name" $result
    done
    round=$((round + 1))
done

# The two of a round run next to each other, so the median of the rounds' ratios is the least noisy.
awk '
    { n[$1]++; rate[$1, n[$1]] = $2; tail[$1, n[$1]] = $4; bad = bad || $5 != "-" }
    function sorted(of, count,   i, j, t) {
        for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++)
            if (of[j] < of[i]) { t = of[i]; of[i] = of[j]; of[j] = t }
    }
    function report(label, values, target,   i, of, count, middle) {
        count = n["serin"]
        for (i = 1; i <= count; i++) of[i] = values["serin", i] / values["nginx", i]
        sorted(of, count)
        middle = count % 2 ? of[(count + 1) / 2] : (of[count / 2] + of[count / 2 + 1]) / 2
        printf "%-11s serin is %.2f of nginx (rounds %.2f to %.2f; target: %s)\n", label, middle, of[1], of[count], target
        return middle
    }
    END {
        r = report("requests/s:", rate, "at least 0.5")
        t = report("p99:", tail, "at most 2")
        if (bad) print "some requests failed"
        exit bad || r < 0.5 || t > 2
    }' "$work/results"
