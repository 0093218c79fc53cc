//! Every key of the configuration is explained: the defaults are the manual.

use crate::tree::{File, none, one, repository, sample};

fn unexplained(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("schemas/config/") && file.path.ends_with(".toml")) {
        let mut above = "";
        for (number, line) in (1..).zip(file.text.lines()) {
            let key = line.split_once('=').map(|(key, _)| key.trim());
            let is_key = key.is_some_and(|key| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            if is_key && !above.starts_with('#') {
                findings.push(format!("{}:{number}: say above '{}' what it does", file.path, key.unwrap_or_default()));
            }
            above = line;
        }
    }
    findings
}

#[test]
fn every_key_is_explained_above_itself() {
    none(&unexplained(&repository()));
    let text = "[nats]\n# Where the broker is.\nurl = 'a'\nshards = 4\n";
    one(&unexplained(&[sample("schemas/config/gateway.toml", text)]), "gateway.toml:4: say above 'shards'");
}
