#!/usr/bin/env bash
# Rules, alerts and routes, by Prometheus' and Alertmanager's own tools: each alert firing and quiet, each kind of alert told to
# the right people. Takes ten seconds. Where the tools are missing they are unpacked from Debian's packages into target/:
# nothing is installed, and no daemon is started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

debian=$PWD/target/ci-tools/debian
PATH="$PATH:$debian/usr/bin"
if ! { command -v prometheus && command -v promtool && command -v amtool; } >/dev/null; then
    mkdir -p "$debian"
    if ! said=$(cd "$debian" && apt-get download prometheus prometheus-alertmanager 2>&1); then
        echo "skipped: prometheus and prometheus-alertmanager could not be fetched: $(tail -n 1 <<<"$said")"
        exit 0
    fi
    for package in "$debian"/*.deb; do dpkg-deb -x "$package" "$debian"; done
fi
cd deploy/observe

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
    if to "pager,chat-$team" severity=warning team="$team" >/dev/null; then
        echo "a warning wakes somebody up"
        exit 1
    fi
done
to chat severity=warning
to pager severity=critical
echo "rules, alerts and routes are as they should be"
