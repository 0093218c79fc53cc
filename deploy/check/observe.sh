#!/usr/bin/env bash
# Rules, alerts and routes, by Prometheus' and Alertmanager's own tools: each alert firing and quiet, each kind of alert to the
# right people. Takes a second; needs promtool and amtool (Debian: prometheus, prometheus-alertmanager).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../observe"

for tool in promtool amtool; do
    command -v "$tool" >/dev/null || { echo "$tool is not on the PATH: apt-get install prometheus prometheus-alertmanager"; exit 1; }
done

# Debian builds promtool without Kubernetes' discovery: of that file nothing else may be wrong.
kubernetes() {
    local said
    said=$(promtool check config --syntax-only prometheus-kubernetes.yml 2>&1) && return
    if grep -v 'kubernetes_sd_configs not found' <<<"$said" | grep -qE 'line [0-9]+:'; then
        echo "$said"
        return 1
    fi
}

# to RECEIVERS LABEL=VALUE...: who is told of an alert with these labels.
to() {
    local receivers=$1
    shift
    amtool config routes test --config.file=alertmanager.yml --verify.receivers="$receivers" "$@" >/dev/null 2>&1 ||
        { echo "an alert with $* does not go to $receivers"; return 1; }
}

promtool check config prometheus.yml
kubernetes
promtool check rules rules/*.yml
promtool test rules tests/*.yml
amtool check-config alertmanager.yml
for team in desk engines content; do
    to "pager,chat-$team" severity=critical team="$team"
    to "chat-$team" severity=warning team="$team"
    ! to "pager,chat-$team" severity=warning team="$team" >/dev/null
done
to chat severity=warning
to pager severity=critical
echo "rules, alerts and routes are as they should be"
