"""Renders overlays and holds every object of Kubernetes' own against its strict schema; hands on the others as JSON."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

RELEASES = ["1.33", "1.34", "1.35", "1.36", "1.37"]


def rendered(folder):
    text = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    if text.returncode:
        raise SystemExit(f"{folder} cannot be rendered: {text.stderr.strip()}")
    return [thing for thing in yaml.safe_load_all(text.stdout) if thing]


def wrong(thing):
    """One line for each release that would refuse it."""
    for release in RELEASES:
        try:
            found = kubernetes_validate.validate(thing, release, strict=True)
            if found != release:
                yield f"there is no schema of {release}"
        except kubernetes_validate.ValidationError as error:
            yield f"{release}: {'.'.join(map(str, error.absolute_path))}: {error.message}"


def pod(thing):
    """The pod that a thing starts, if it starts one."""
    return thing.get("spec", {}).get("template", {}).get("spec")


def unsafe(thing):
    """What the restricted profile, or we beyond it, would not let in."""
    spec = pod(thing)
    if not spec:
        return
    rights = spec.get("securityContext", {})
    if not rights.get("runAsNonRoot") or rights.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "runs as root, or without the runtime's system call filter"
    if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
        yield "is given a token of the API server, or other services' variables"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"has {key}"
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{container['name']} may gain rights"
        if not own.get("readOnlyRootFilesystem"):
            yield f"{container['name']} may write to its image"
        resources = container.get("resources", {})
        if {"cpu", "memory"} - set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
            yield f"{container['name']} does not say what it needs"
        probes = {"livenessProbe", "readinessProbe"} - set(container)
        if probes and "ports" in container and thing["kind"] != "Job":
            yield f"{container['name']} has no {' and no '.join(sorted(probes))}"


def unreadable(things):
    """What promtool says of the queries that autoscalers ask Prometheus."""
    triggers = [trigger for thing in things for trigger in thing["spec"].get("triggers", [])]
    queries = sorted({trigger["metadata"]["query"] for trigger in triggers if "query" in trigger["metadata"]})
    if not queries:
        return []
    if not shutil.which("promtool"):
        print("skipped: the autoscalers' queries are not checked, promtool is not here")
        return []
    rules = [{"record": f"scaling:query{number}", "expr": query} for number, query in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "scaling", "rules": rules}]}, file)
        file.flush()
        told = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
    print(f"{len(queries)} queries of autoscalers: {'as promtool wants them' if told.returncode == 0 else 'not'}")
    return [told.stderr.strip()] if told.returncode else []


def main(overlays, custom, ours):
    problems, others, checked = [], [], 0
    folders = sorted(path.parent for path in pathlib.Path(overlays).rglob("kustomization.yaml"))
    for folder in folders:
        for thing in rendered(folder):
            name = f"{folder}: {thing['kind']} {thing['metadata']['name']}"
            own = thing["apiVersion"].split("/")[0]
            if "." in own and not own.endswith(".k8s.io"):
                others.append({"where": name, "thing": thing})
                continue
            checked += 1
            problems += [f"{name}: {problem}" for problem in [*wrong(thing), *(unsafe(thing) if ours else [])]]
    problems += unreadable([other["thing"] for other in others])
    pathlib.Path(custom).write_text(json.dumps(others))
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(folders)} renderings, {checked} objects against Kubernetes {', '.join(RELEASES)}: {len(problems)} problems")
    sys.exit(bool(problems) or not checked)


# A chart's pods are its own matter: nats-chart.sh looks at them.
main(sys.argv[1], sys.argv[2], ours=sys.argv[1].startswith("deploy/"))
