"""Writes what the image holds: sbom.cdx.json (CycloneDX 1.6) and THIRD-PARTY.txt, every licence text with those it holds for."""

import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tomllib

PROGRAMS = ["talkfleet", "talkfleet-gateway", "talkfleet-worker"]
NAMES = ("license", "licence", "copying", "notice", "unlicense", "copyright")


def crates(repo):
    """What the three programs are built from: no tests, no benches, no other platforms."""
    host = next(line.split()[1] for line in run(["rustc", "-vV"], repo).splitlines() if line.startswith("host:"))
    told = json.loads(run(["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={host}"], repo))
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    reached, waiting = set(), [id for id in packages if packages[id]["name"] in PROGRAMS]
    while waiting:
        id = waiting.pop()
        if id in reached:
            continue
        reached.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted((packages[id] for id in reached), key=lambda package: (package["name"], package["version"]))


def run(command, folder):
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def component(package, sums):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    made = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package["license"]:
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in sums:
        made["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
    return made


def texts(folder):
    files = (path for path in pathlib.Path(folder).iterdir() if path.is_file() and path.name.lower().startswith(NAMES))
    return [path.read_text(errors="replace").strip() for path in sorted(files)]


def main(repo, out):
    repo, out = pathlib.Path(repo), pathlib.Path(out)
    locked = tomllib.loads((repo / "Cargo.lock").read_text())["package"]
    sums = {(row["name"], row["version"]): row["checksum"] for row in locked if "checksum" in row}
    holders, components = collections.defaultdict(list), []
    for package in crates(repo):
        if package["source"] is None:
            continue
        components.append(component(package, sums))
        name = f"{package['name']} {package['version']} ({package['license'] or 'see its file'})"
        for text in texts(pathlib.Path(package["manifest_path"]).parent) or ["No text of its own; its manifest says so."]:
            holders[text].append(name)
    for row in tomllib.loads((repo / "schemas/engines.toml").read_text()).values():
        wheel = row["wheels"].get("any")
        if not wheel:
            continue
        purl = f"pkg:pypi/{row['package']}@{row['version']}"
        made = {"type": "machine-learning-model", "bom-ref": purl, "name": row["package"], "version": row["version"]}
        made |= {"purl": purl, "licenses": [{"license": {"id": row["licence"]}}]}
        components.append(made | {"hashes": [{"alg": "SHA-256", "content": wheel["sha256"]}]})
    for name in filter(None, (out / "debian.txt").read_text().split()):
        version = run(["dpkg-query", "--show", "--showformat=${Version}\n", name], repo).split()[0]
        purl = f"pkg:deb/debian/{name}@{version}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
        holders[pathlib.Path("/usr/share/doc", name, "copyright").read_text(errors="replace").strip()].append(f"{name} {version}")
    (out / "debian.txt").unlink()

    version = tomllib.loads((repo / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    root = {"type": "application", "bom-ref": "talkfleet", "name": "talkfleet", "version": version}
    root["licenses"] = [{"license": {"id": "Apache-2.0"}}]
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": root}}
    bom["components"] = components
    bom["dependencies"] = [{"ref": "talkfleet", "dependsOn": [made["bom-ref"] for made in components]}]
    (out / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")
    with (out / "THIRD-PARTY.txt").open("w") as file:
        for text, names in sorted(holders.items(), key=lambda row: (-len(row[1]), row[1])):
            file.write(f"{'=' * 100}\n{', '.join(sorted(set(names)))}\n{'-' * 100}\n{text}\n\n")
    print(f"{len(components)} components, {len(holders)} licence texts", hashlib.sha256(json.dumps(bom).encode()).hexdigest()[:12])


main(*sys.argv[1:])
