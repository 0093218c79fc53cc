//! The broker's users as nats-server's configuration takes them, and the NKEYs by which they are let in.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use nkeys::KeyPair;
use serde_json::json;
use talkfleet_shared::{
    bus::{BusRights, Rules, users},
    id::{BusUser, GatewayId, TenantId},
};

/// What `talkfleet schema write` keeps the same as the code: the users of a fleet whose gateways share one.
pub const PERMISSIONS_FILE: &str = "deploy/nats/permissions.conf";

/// The file within the folder of keys that `permissions.conf` includes.
const KEYS_FILE: &str = "keys.conf";

/// The file for the system account, and the one user that it has.
const SYSTEM_FILE: &str = "system.conf";
const SYSTEM_USER: &str = "system";

/// The ending of a file that holds a seed.
const SEED: &str = "nk";

/// Which users there are beside those that every fleet has.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Members {
    /// A user for one gateway alone, such as gateway-1, to be repeated: others cannot read its replies. Without any,
    /// gateways share the user `gateway`
    #[arg(long = "gateway", value_name = "NAME", value_parser = parse_gateway)]
    gateways: Vec<BusUser>,
    /// A user for a tenant's programs that ask over plain NATS, to be repeated
    #[arg(long = "client", value_name = "TENANT", value_parser = crate::connect::parse_tenant)]
    clients: Vec<TenantId>,
}

/// How users prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Nkey,
    Password,
}

/// `talkfleet topology permissions`.
pub(crate) fn print(members: &Members, passwords: bool, as_json: bool) -> Result<ExitCode> {
    let users = users(&members.gateways, &members.clients);
    if as_json {
        let users: serde_json::Map<_, _> =
            users.into_iter().map(|BusRights { user, rights }| (user, json!(rights))).collect();
        println!("{}", serde_json::to_string_pretty(&users)?);
    } else {
        print!("{}", text(&users, if passwords { Proof::Password } else { Proof::Nkey })?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of [`PERMISSIONS_FILE`].
pub fn permissions() -> Result<String> {
    text(&users(&[], &[]), Proof::Nkey)
}

fn text(users: &[BusRights], proof: Proof) -> Result<String> {
    let mut out = String::from(
        "# The broker's users and what each of them may do: its own stage and its own inbox. Written from the code by\n\
         # `talkfleet schema write`; `talkfleet topology permissions --help` tells how to have others. Include it within the\n\
         # account. Beside it lies keys.conf with a line for each user, such as GATEWAY: \"U…\", which `talkfleet topology\n\
         # keys` writes.\n",
    );
    writeln!(out, "include \"{KEYS_FILE}\"\n\nusers: [")?;
    for BusRights { user, rights } in users {
        let key = variable(user);
        let proof = match proof {
            Proof::Nkey => format!("nkey: ${key}"),
            Proof::Password => format!("user: {user}, password: ${key}"),
        };
        writeln!(out, "  # {user}\n  {{ {proof}, permissions: {{")?;
        for (what, rules) in [("publish", &rights.publish), ("subscribe", &rights.subscribe)] {
            writeln!(out, "    {what}: {{")?;
            let Rules { allow, deny } = rules;
            for (list, subjects) in [("allow", allow), ("deny", deny)].into_iter().filter(|(_, list)| !list.is_empty())
            {
                writeln!(out, "      {list}: [")?;
                for subject in subjects {
                    writeln!(out, "        \"{subject}\"")?;
                }
                writeln!(out, "      ]")?;
            }
            writeln!(out, "    }}")?;
        }
        writeln!(out, "  }} }}")?;
    }
    out.push_str("]\n");
    Ok(out)
}

/// `talkfleet topology keys`: a seed for every user that has none yet, and their public halves for the broker.
pub(crate) fn keys(dir: &Path, members: &Members, renew: &[String]) -> Result<ExitCode> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let users: Vec<String> = users(&members.gateways, &members.clients).into_iter().map(|user| user.user).collect();
    let known = |user: &&String| users.contains(user) || *user == SYSTEM_USER;
    if let Some(stranger) = renew.iter().find(|user| !known(user)) {
        bail!("--renew {stranger}: there is no such user; there are {}, {SYSTEM_USER}", users.join(", "));
    }
    let mut lines = String::new();
    for user in &users {
        writeln!(lines, "{}: \"{}\"", variable(user), public_half(dir, user, renew)?)?;
    }
    write(&dir.join(KEYS_FILE), &lines, 0o644)?;
    let system = public_half(dir, SYSTEM_USER, renew)?;
    write(&dir.join(SYSTEM_FILE), &format!("users: [ {{ nkey: \"{system}\" }} ]\n"), 0o644)?;
    println!(
        "{}: a seed for each of {} users, {KEYS_FILE} and {SYSTEM_FILE} for the broker",
        dir.display(),
        users.len() + 1
    );
    Ok(ExitCode::SUCCESS)
}

/// The public half of a user's key, which is made when there is none, or another one is wanted.
fn public_half(dir: &Path, user: &str, renew: &[String]) -> Result<String> {
    let path: PathBuf = dir.join(format!("{user}.{SEED}"));
    let shown = path.display();
    if path.exists() && !renew.iter().any(|name| name == user) {
        let seed = fs::read_to_string(&path).with_context(|| format!("{shown} cannot be read"))?;
        let pair = KeyPair::from_seed(seed.trim());
        return Ok(pair.map_err(|_| anyhow::anyhow!("{shown} holds no seed of an NKEY"))?.public_key());
    }
    let pair = KeyPair::new_user();
    let seed = pair.seed().map_err(|error| anyhow::anyhow!("no seed was made: {error}"))?;
    write(&path, &format!("{seed}\n"), 0o600)?;
    Ok(pair.public_key())
}

/// Whole or not at all, and never readable by others in between.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt};
    let shown = path.display();
    let beside = path.with_extension("new");
    let written = || {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().with_context(|| format!("cannot write {shown}"))
}

/// The name in `keys.conf`.
fn variable(user: &str) -> String {
    user.to_ascii_uppercase().replace('-', "_")
}

fn parse_gateway(text: &str) -> Result<BusUser, String> {
    let user = BusUser::parse(text).map_err(|error| format!("a user's name {error}"))?;
    match GatewayId::of_user(&user) {
        Some(_) => Ok(user),
        None => Err(format!("the user of one gateway begins with {}", GatewayId::OWN_USER)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_renewed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let members = Members { gateways: vec![parse_gateway("gateway-1").unwrap()], clients: Vec::new() };
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        keys(dir.path(), &members, &[]).unwrap();
        let (seed, public) = (read("archive.nk"), read(KEYS_FILE));
        let mode = fs::metadata(dir.path().join("archive.nk")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(public.contains("GATEWAY_1: \"U") && !public.contains("GATEWAY: "), "{public}");
        assert!(read(SYSTEM_FILE).contains("nkey: \"U"));
        keys(dir.path(), &members, &[]).unwrap();
        assert_eq!((&seed, &public), (&read("archive.nk"), &read(KEYS_FILE)));
        keys(dir.path(), &members, &["archive".into()]).unwrap();
        assert_ne!(seed, read("archive.nk"));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let changed = lines(&public).into_iter().zip(lines(&read(KEYS_FILE))).filter(|(a, b)| a != b);
        assert_eq!(changed.map(|(line, _)| line[..8].to_owned()).collect::<Vec<_>>(), ["ARCHIVE:"]);
        let error = keys(dir.path(), &members, &["archives".into()]).unwrap_err().to_string();
        assert!(error.contains("there is no such user"), "{error}");
    }

    #[test]
    fn only_a_gateways_name_is_one() {
        assert!(parse_gateway("gateway-eu-1").is_ok());
        for name in ["gateway", "archive", "gateway-a.b", ""] {
            assert!(parse_gateway(name).is_err(), "{name}");
        }
    }
}
