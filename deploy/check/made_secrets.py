"""Holds the objects that deploy/k8s/secrets.sh makes against what the pods of overlays/small are given: none may lack, none be idle."""

import subprocess
import sys

import yaml

STAGES = ["engines", "prepare", "fleet"]


def named(thing):
    """Secrets and config maps that a thing mounts or reads, with the keys that it names."""
    if isinstance(thing, list):
        for part in thing:
            yield from named(part)
        return
    if not isinstance(thing, dict):
        return
    for key, value in thing.items():
        if key == "secret" and isinstance(value, dict):
            yield "Secret", value.get("secretName") or value["name"], {item["key"] for item in value.get("items", [])}
        elif key in ("configMap", "configMapRef"):
            yield "ConfigMap", value["name"], {item["key"] for item in value.get("items", [])}
        yield from named(value)


made = {(thing["kind"], thing["metadata"]["name"]): thing for thing in yaml.safe_load_all(open(sys.argv[1])) if thing}
things = []
for stage in STAGES:
    text = subprocess.run(["kubectl", "kustomize", f"deploy/k8s/overlays/small/{stage}"], capture_output=True, text=True, check=True)
    things += [thing for thing in yaml.safe_load_all(text.stdout) if thing]
there = made | {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}
wanted, problems = set(), []
for kind, name, keys in named(things):
    wanted.add((kind, name))
    found = there.get((kind, name), {})
    if not found:
        problems.append(f"{kind} {name} is mounted, and nobody makes it")
    problems += [f"{kind} {name} lacks {key}" for key in sorted(keys - set(found.get("data", {}))) if found]
problems += [f"{kind} {name} is made, and nobody mounts it" for kind, name in sorted(set(made) - wanted)]
print(*sorted(set(problems)), sep="\n", end="\n" if problems else "")
print(f"{len(made)} secrets and maps for overlays/small: {len(problems)} problems")
sys.exit(bool(problems))
