#!/usr/bin/env bash
# What a real control plane of Kubernetes makes of the manifests: takes every object and keeps every field; spreads, evicts, drains,
# releases and goes back, makes room, scales by lag. Opt-in, no part of CI. The first time it builds Kubernetes 1.20, the newest of
# which a registry of packages has the whole source, from Debian's: some ten minutes of CPU, 4 GB in target/. Then nine. Needs
# Debian 12, apt, openssl, iproute2, Python, and root, for an address on the loopback interface. Nodes and their kubelet are stand-ins:
# no container runs. What 1.20 knows by another name, or not yet, is translated (`as_then` in deploy/check/cluster/check.py);
# manifests.sh holds the originals against the schemas of releases that have it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=$PWD/target/ci-tools/control-plane
programs=$folder/bin
kubernetes=kubernetes=1.20.5+really1.20.2-1.1+deb12u1
go=1.19

unavailable() {
    echo "the control plane cannot be built: $1" >&2
    exit 1
}

build() {
    local lists=$folder/apt from=/etc/apt/sources.list.d/debian.sources
    [[ -f $from ]] || unavailable "$from, where Debian 12 says where its packages are, is not here"
    mkdir -p "$lists"/{lists,archives}/partial "$folder/gopath/src/k8s.io/kubernetes" "$programs"
    sed 's/^Types:.*/Types: deb deb-src/' "$from" >"$lists/debian.sources"
    local apt=(-qq -o "Dir::Etc::sourcelist=$lists/debian.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$lists/lists"
        -o "Dir::Cache=$lists" -o APT::Sandbox::User=root)
    # Chained, since what stands before a `||` does not end at its first failure.
    (
        cd "$folder" &&
            apt-get "${apt[@]}" update &&
            apt-get "${apt[@]}" source --download-only "$kubernetes" &&
            apt-get "${apt[@]}" download "golang-$go-go" "golang-$go-src" etcd-server &&
            for package in *.deb; do dpkg-deb -x "$package" unpacked || exit; done &&
            tar -xzf kubernetes_*.orig.tar.gz -C gopath/src/k8s.io/kubernetes --strip-components=1 &&
            cp unpacked/usr/bin/etcd "$programs/"
    ) || unavailable "its parts could not be fetched from Debian"
    # Without modules: everything that it needs lies beside it, as Debian's package has it.
    local kinds version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    (
        cd "$folder/gopath/src/k8s.io/kubernetes" || exit
        export GOROOT=$folder/unpacked/usr/lib/go-$go GOPATH=$folder/gopath GOCACHE=$folder/cache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
        # The one generated file that the source comes without: what the server says of its kinds.
        kinds=$(grep -rl '+k8s:openapi-gen=' --include='*.go' pkg cmd staging/src/k8s.io |
            grep -vE 'code-generator/|sample-apiserver/|kube-openapi|zz_generated|_test\.go' | xargs -n1 dirname | sort -u |
            sed 's,^staging/src/,vendor/,; s,^,k8s.io/kubernetes/,' | paste -sd,)
        "$GOROOT/bin/go" run ./vendor/k8s.io/kube-openapi/cmd/openapi-gen --logtostderr -i "$kinds" \
            -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
            -r "$folder/violations" &&
            "$GOROOT/bin/go" build -o "$programs/" \
                -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
                ./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler
    ) >"$folder/build.log" 2>&1 || unavailable "$(tail -n 5 "$folder/build.log")"
    rm -rf "$folder"/{gopath,cache,unpacked,apt} "$folder"/*.deb "$folder"/kubernetes_*
}

[[ -x $programs/kube-scheduler ]] || build
deploy/check/kubectl.sh >/dev/null
python=target/ci-tools/control-plane/python
[[ -d $python/yaml ]] || python3 -m pip install --quiet --root-user-action=ignore --target "$python" PyYAML==6.0.2
PYTHONPATH=$python PYTHONDONTWRITEBYTECODE=1 PATH=$PWD/target/ci-tools/kube:$PATH python3 deploy/check/cluster/check.py "$programs"
