// Holds KEDA's and the Prometheus operator's objects against the schemas that npm has of their types. Those tell wrong and missing
// values but pass over keys that they do not know, as the API server would; a proxy notes which keys nobody asked for.
import { readFileSync } from "node:fs";

const KINDS = {
  "keda.sh/v1alpha1/": "keda/_schemas/ComGithubKedacoreKedaV2ApisKedaV1alpha1",
  "monitoring.coreos.com/v1/": "prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1",
};

function watched(value, path, unasked) {
  if (value === null || typeof value !== "object") return value;
  const wrap = (key) => watched(value[key], `${path}.${key}`, unasked);
  const copy = Array.isArray(value) ? [] : {};
  for (const key of Object.keys(value)) {
    if (!Array.isArray(value)) unasked.add(`${path}.${key}`);
    const inner = wrap(key);
    Object.defineProperty(copy, key, {
      enumerable: true,
      get() {
        unasked.delete(`${path}.${key}`);
        return inner;
      },
    });
  }
  return copy;
}

const problems = [];
const things = JSON.parse(readFileSync(process.argv[2], "utf8"));
for (const { where, thing } of things) {
  const module = `./node_modules/@kubernetes-models/${KINDS[`${thing.apiVersion}/`]}${thing.kind}.js`;
  const { validate } = await import(module).catch(() => ({}));
  if (!validate) {
    problems.push(`${where}: there is no schema of ${thing.apiVersion} ${thing.kind}`);
    continue;
  }
  const unasked = new Set();
  const spec = watched(thing.spec, "spec", unasked);
  if (!validate({ ...thing, spec })) {
    problems.push(...validate.errors.map((error) => `${where}: ${error.instancePath}: ${error.keyword} ${JSON.stringify(error.params)}`));
    continue;
  }
  const known = [...unasked].filter((key) => ![...unasked].some((other) => key.startsWith(`${other}.`)));
  problems.push(...known.map((key) => `${where}: ${key} is no key of it`));
}
for (const problem of problems) console.log(problem);
console.log(`${things.length} objects of KEDA and the Prometheus operator: ${problems.length} problems`);
process.exit(problems.length > 0 || things.length === 0 ? 1 : 0);
