"""Renders overlays and holds every object of Kubernetes' own against its strict schema; hands on the others as JSON."""

import json
import pathlib
import subprocess
import sys

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


def main(overlays, custom):
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
            problems += [f"{name}: {problem}" for problem in wrong(thing)]
    pathlib.Path(custom).write_text(json.dumps(others))
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(folders)} renderings, {checked} objects against Kubernetes {', '.join(RELEASES)}: {len(problems)} problems")
    sys.exit(bool(problems) or not checked)


main(*sys.argv[1:])
