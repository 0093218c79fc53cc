//! PURE: what the manifests say of scaling: KEDA's ScaledObjects, and the requests of the Deployments that they scale.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::behavior::{Behavior, Policy, PolicyKind, Rules, Select};

/// A Deployment and how it is scaled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaled {
    pub(super) name: String,
    pub(super) behavior: Behavior,
    pub(super) triggers: Vec<Trigger>,
    /// Cores that one pod requests.
    pub(super) requested_cores: f64,
}

/// What it is scaled by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trigger {
    /// KEDA's `nats-jetstream`: what waits or is being answered, so much for each replica.
    Lag { stream: String, consumer: String, threshold: f64 },
    /// A part of the CPU that was requested.
    Cpu { utilisation: f64 },
    /// A question to Prometheus.
    Query { query: String, threshold: f64, each: bool },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScaledObject {
    scale_target_ref: Metadata,
    #[serde(default)]
    min_replica_count: u32,
    #[serde(default = "replicas_max")]
    max_replica_count: u32,
    #[serde(default)]
    advanced: Advanced,
    triggers: Vec<WrittenTrigger>,
}

/// KEDA's own default.
fn replicas_max() -> u32 {
    100
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Advanced {
    #[serde(default)]
    horizontal_pod_autoscaler_config: HpaConfig,
}

#[derive(Deserialize, Default)]
struct HpaConfig {
    #[serde(default)]
    behavior: WrittenBehavior,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct WrittenBehavior {
    scale_up: Option<WrittenRules>,
    scale_down: Option<WrittenRules>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRules {
    stabilization_window_seconds: Option<f64>,
    select_policy: Option<String>,
    policies: Option<Vec<WrittenPolicy>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPolicy {
    #[serde(rename = "type")]
    kind: String,
    value: u32,
    period_seconds: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenTrigger {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    metric_type: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

fn documents(yaml: &str) -> Result<Vec<Document>> {
    serde_saphyr::from_multiple(yaml).map_err(|error| anyhow::anyhow!("the manifests are no YAML: {error}"))
}

/// The turns that a response worker of the manifests answers at once; None where they do not say.
pub(super) fn response_concurrency(yaml: &str) -> Result<Option<u32>> {
    let file = |document: Document| document.data["worker.toml"].as_str().map(str::to_owned);
    let of = |text: String| {
        let concurrency = text.parse::<toml::Table>().ok()?.get("roles")?.get("response_concurrency")?.as_integer();
        concurrency.and_then(|concurrency| u32::try_from(concurrency).ok())
    };
    Ok(documents(yaml)?.into_iter().filter_map(file).find_map(of))
}

/// Every Deployment that a ScaledObject scales, by name.
pub(super) fn read(yaml: &str) -> Result<BTreeMap<String, Scaled>> {
    let documents = documents(yaml)?;
    let mut requests = BTreeMap::new();
    for deployment in documents.iter().filter(|document| document.kind == "Deployment") {
        requests.insert(deployment.metadata.name.as_str(), requested_cores(&deployment.spec));
    }
    let mut scaled = BTreeMap::new();
    for document in documents.iter().filter(|document| document.kind == "ScaledObject") {
        let name = &document.metadata.name;
        let object: ScaledObject =
            serde_json::from_value(document.spec.clone()).with_context(|| format!("ScaledObject {name}"))?;
        let target = object.scale_target_ref.name.clone();
        let requested_cores = requests.get(target.as_str()).copied().unwrap_or_default();
        let read = object.read(target.clone(), requested_cores).with_context(|| format!("ScaledObject {name}"))?;
        scaled.insert(target, read);
    }
    if scaled.is_empty() {
        bail!("no ScaledObject is among the manifests; render an overlay that has them, such as overlays/production")
    }
    Ok(scaled)
}

impl ScaledObject {
    fn read(self, name: String, requested_cores: f64) -> Result<Scaled> {
        let written = self.advanced.horizontal_pod_autoscaler_config.behavior;
        let rules = |written: Option<WrittenRules>, default: Rules| match written {
            Some(written) => written.read(default),
            None => Ok(default),
        };
        let behavior = Behavior {
            up: rules(written.scale_up, Rules::default_up())?,
            down: rules(written.scale_down, Rules::default_down())?,
            min: self.min_replica_count,
            max: self.max_replica_count,
        };
        let triggers = self.triggers.into_iter().map(WrittenTrigger::read).collect::<Result<_>>()?;
        Ok(Scaled { name, behavior, triggers, requested_cores })
    }
}

impl WrittenRules {
    fn read(self, default: Rules) -> Result<Rules> {
        let policy = |written: WrittenPolicy| {
            let kind = match written.kind.as_str() {
                "Pods" => PolicyKind::Pods,
                "Percent" => PolicyKind::Percent,
                other => bail!("a policy is of type '{other}'; Kubernetes knows Pods and Percent"),
            };
            Ok(Policy { kind, value: written.value, period_s: written.period_seconds })
        };
        let policies = self.policies.map(|written| written.into_iter().map(policy).collect::<Result<_>>());
        let select = match self.select_policy.as_deref() {
            None | Some("Max") => Select::Max,
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            Some(other) => bail!("selectPolicy is '{other}'; Kubernetes knows Max, Min and Disabled"),
        };
        Ok(Rules {
            window_s: self.stabilization_window_seconds.unwrap_or(default.window_s),
            policies: policies.transpose()?.unwrap_or(default.policies),
            select,
        })
    }
}

impl WrittenTrigger {
    fn read(self) -> Result<Trigger> {
        let of = |key: &str| {
            let found = self.metadata.get(key);
            found.with_context(|| format!("a trigger of type {} lacks metadata.{key}", self.kind))
        };
        let number = |key: &str| -> Result<f64> {
            let text = of(key)?;
            text.parse().with_context(|| format!("metadata.{key} is '{text}', and should be a number"))
        };
        Ok(match self.kind.as_str() {
            "nats-jetstream" => Trigger::Lag {
                stream: of("stream")?.clone(),
                consumer: of("consumer")?.clone(),
                threshold: number("lagThreshold")?,
            },
            "cpu" => Trigger::Cpu { utilisation: number("value")? / 100.0 },
            "prometheus" => Trigger::Query {
                query: of("query")?.clone(),
                threshold: number("threshold")?,
                each: self.metric_type != "Value",
            },
            other => bail!("the rehearsal does not know triggers of type '{other}'"),
        })
    }
}

/// Cores that the containers of a Deployment's pod request.
fn requested_cores(spec: &Value) -> f64 {
    let containers = spec["template"]["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |container: &Value| {
        let cpu = &container["resources"]["requests"]["cpu"];
        let text = cpu.as_str().map_or_else(|| cpu.to_string(), str::to_owned);
        match text.strip_suffix('m') {
            Some(millis) => millis.parse::<f64>().map(|millis| millis / 1_000.0),
            None => text.parse(),
        }
        .unwrap_or_default()
    };
    containers.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: intent }
spec:
  template:
    spec:
      containers:
        - { name: a, resources: { requests: { cpu: 500m } } }
        - { name: b, resources: { requests: { cpu: "2" } } }
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: wide }
spec:
  scaleTargetRef: { name: intent }
  minReplicaCount: 2
  maxReplicaCount: 30
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 180
          selectPolicy: Min
          policies: [{ type: Percent, value: 25, periodSeconds: 60 }]
  triggers:
    - { type: cpu, metricType: Utilization, metadata: { value: "70" } }
    - type: nats-jetstream
      metadata: { stream: ASK, consumer: response, lagThreshold: "45" }
    - { type: prometheus, metricType: Value, metadata: { query: up, threshold: "0.7" } }
"#;

    #[test]
    fn a_scaled_object_is_read_with_what_its_deployment_requests() {
        let read = read(WRITTEN).unwrap();
        let intent = &read["intent"];
        assert_eq!((intent.requested_cores, intent.behavior.min, intent.behavior.max), (2.5, 2, 30));
        assert_eq!(intent.behavior.up, Rules::default_up());
        let policy = Policy { kind: PolicyKind::Percent, value: 25, period_s: 60.0 };
        assert_eq!(intent.behavior.down, Rules { window_s: 180.0, policies: vec![policy], select: Select::Min });
        assert_eq!(
            intent.triggers,
            [
                Trigger::Cpu { utilisation: 0.7 },
                Trigger::Lag { stream: "ASK".into(), consumer: "response".into(), threshold: 45.0 },
                Trigger::Query { query: "up".into(), threshold: 0.7, each: false },
            ]
        );
    }

    #[test]
    fn the_workers_own_file_says_how_much_one_takes() {
        let file = "kind: ConfigMap\ndata:\n  worker.toml: |\n    [roles]\n    response_concurrency = 48\n";
        assert_eq!(response_concurrency(file).unwrap(), Some(48));
        assert_eq!(response_concurrency(WRITTEN).unwrap(), None);
    }

    #[track_caller]
    fn refused(from: &str, to: &str, expected: &str) {
        let error = format!("{:#}", read(&WRITTEN.replace(from, to)).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        refused("ScaledObject", "HorizontalPodAutoscaler", "no ScaledObject");
        refused("type: cpu", "type: kafka", "triggers of type 'kafka'");
        refused("\"45\"", "many", "metadata.lagThreshold is 'many'");
        refused("lagThreshold", "lag", "lacks metadata.lagThreshold");
        refused("selectPolicy: Min", "selectPolicy: Most", "selectPolicy is 'Most'");
        refused("type: Percent", "type: Part", "type 'Part'");
    }
}
