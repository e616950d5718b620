#!/bin/sh
# An operator's session with curl: every admin path before, during and after a drain, and what an operator may do.
#
#   operator.sh before|during|after|acting http://ADMIN
#
# Prints a line for each question; ends with 1 at the first answer that is not the one that is expected.
set -eu
phase=$1 admin=$2

# see METHOD PATH STATUS PATTERN: this status, and a line of the body in which this pattern is found ("!" before: no such line).
see() {
    method=$1 path=$2 status=$3 pattern=$4
    answer=$(curl --silent --show-error --max-time 10 --request "$method" --write-out '\n%{http_code}' "$admin$path")
    got=$(printf '%s\n' "$answer" | tail -n 1)
    body=$(printf '%s\n' "$answer" | sed '$d')
    found=yes
    printf '%s\n' "$body" | grep -q -e "${pattern#!}" || found=no
    wanted=yes
    case $pattern in !*) wanted=no ;; esac
    if [ "$got" != "$status" ] || [ "$found" != "$wanted" ]; then
        printf 'FAILED %s %s: expected %s and %s, got %s:\n%s\n' "$method" "$path" "$status" "$pattern" "$got" "$body" >&2
        exit 1
    fi
    printf '%s %s %s: %s\n' "$method" "$path" "$status" "$pattern"
}

# What no drain of a version changes.
always() {
    see GET /ready 200 '^LIVE$'
    see GET /server_info 200 '"state": "LIVE"'
    see GET /server_info 200 '"drain_strategy": "Immediate"'
    see GET /help 200 '/drain_listeners: '
    see GET / 200 '^admin commands are:$'
    see GET /nothing 404 '^invalid path'
    see GET /listeners 200 '^http::127.0.0.1:'
    see GET '/listeners?format=json' 200 '"name": "http"'
    see GET '/stats?usedonly' 200 '^listener_manager.listener_added: 1$'
    see GET '/stats?format=json' 200 '"name":"listener_manager.total_listeners_active"'
    see GET /stats/prometheus 200 '^envoy_listener_manager_total_listeners_active{} 1$'
    see GET '/config_dump?resource=static_listeners' 200 '^{}$'
    see GET '/config_dump' 200 '"drain_strategy": "Immediate"'
    see GET /drain_listeners 405 'POST required'
    see GET /healthcheck/fail 405 'POST required'
    see GET /healthcheck/ok 405 'POST required'
    see GET /quitquitquit 405 'POST required'
    see GET /listeners/http/drain 405 'POST required'
}

case $phase in
before)
    always
    see GET /drain 200 '"drains": \[\]'
    see GET /connections 200 '"state": *"active"'
    see GET '/connections?format=text' 200 ' active .* one request is not finished$'
    see GET /config_dump 200 '"version_info": "1"'
    see GET /config_dump 200 '!draining_state'
    see GET /stats 200 '^listener_manager.total_listeners_draining: 0$'
    see GET /stats 200 '^orion_listener_versions_active{listener="http"}: 1$'
    see GET /stats/prometheus 200 '^orion_listener_drain_connections_active{listener="http"} 0$'
    ;;
during)
    always
    see GET /drain 200 '"reason": "listener_modify"'
    see GET /drain 200 '"drain_id": "[0-9a-f]\{16\}"'
    see GET /connections 200 '"next": *"finish"'
    see GET /connections 200 '"deadline_in_ms": *[0-9]'
    see GET '/connections?format=text' 200 ' draining .* finish .* one request is not finished$'
    see GET /config_dump 200 '"draining_state"'
    see GET '/config_dump?resource=dynamic_listeners' 200 '"version_info": "2"'
    see GET /stats 200 '^listener_manager.listener_modified: 1$'
    see GET /stats 200 '^listener_manager.total_listeners_draining: 1$'
    see GET /stats 200 '^http.http.downstream_cx_drain_close: 1$'
    see GET /stats 200 '^orion_listener_drain_connections_active{listener="http"}: 1$'
    see GET /stats/prometheus 200 '^orion_listener_versions_active{listener="http"} 2$'
    see GET /stats/prometheus 200 '^orion_drain_strategy_usage_total{strategy="immediate"} 1$'
    see GET /stats/prometheus 200 '^orion_connection_state_transitions_total{state="draining"} 1$'
    ;;
after)
    always
    see GET /drain 200 '"drains": \[\]'
    see GET /connections 200 '!"state":'
    see GET /config_dump 200 '!draining_state'
    see GET /stats 200 '^listener_manager.total_listeners_draining: 0$'
    see GET /stats 200 '^orion_connections_closed_total{reason="drained"}: 1$'
    see GET /stats/prometheus 200 '^orion_listener_drain_duration_seconds_count{listener="http"} 1$'
    see GET /stats/prometheus 200 '^orion_listener_drain_timeouts_total{listener="http"} 0$'
    see GET /stats/prometheus 200 '^orion_listener_drain_connections_active{listener="http"} 0$'
    ;;
acting)
    see POST /healthcheck/fail 200 '^OK$'
    see GET /ready 503 '^DRAINING$'
    see GET /server_info 200 '"state": "DRAINING"'
    see POST /healthcheck/ok 200 '^OK$'
    see GET /ready 200 '^LIVE$'
    see POST /listeners/nobody/drain 404 '^no such listener$'
    see POST /listeners/http/drain 200 '^OK$'
    see GET /listeners 200 '!http::'
    see GET /stats 200 '^listener_manager.listener_removed: 1$'
    see POST '/drain_listeners?inboundonly' 200 '^OK$'
    see POST '/drain_listeners?graceful' 200 '^OK$'
    see POST '/drain_listeners?graceful&skip_exit' 200 '^OK$'
    see POST '/drain_listeners?skip_exit' 200 '^OK$'
    see POST /drain_listeners 200 '^OK$'
    see GET /ready 200 '^LIVE$'
    see POST /quitquitquit 200 '^OK$'
    ;;
*)
    echo "unknown phase $phase" >&2
    exit 2
    ;;
esac
