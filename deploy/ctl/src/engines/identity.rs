//! As whom PostgreSQL runs: it refuses root, so root lends it an unprivileged id.
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The id that Linux calls nobody where `/etc/passwd` does not say.
const NOBODY: Identity = Identity { uid: 65_534, gid: 65_534 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whom to become; `None` means to stay who we are.
pub(super) fn unprivileged() -> Option<Identity> {
    is_root().then(|| fs::read_to_string("/etc/passwd").ok().as_deref().and_then(nobody_in).unwrap_or(NOBODY))
}

impl Identity {
    pub(super) fn apply(identity: Option<Identity>, command: &mut Command) {
        if let Some(Identity { uid, gid }) = identity {
            // std also drops root's supplementary groups when it changes the user.
            command.uid(uid).gid(gid);
        }
    }

    /// May this identity walk to `folder`? Asked of the kernel, so that ACLs and mounts count too.
    pub(super) fn reaches(identity: Option<Identity>, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cd \"$1\"", "sh"]).arg(folder).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Identity::apply(identity, &mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

fn nobody_in(passwd: &str) -> Option<Identity> {
    let fields: Vec<&str> = passwd.lines().find(|line| line.starts_with("nobody:"))?.split(':').collect();
    let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    (uid != 0).then_some(Identity { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_read_from_passwd_and_never_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:99:98:Nobody:/:/sbin/nologin\n";
        assert_eq!(nobody_in(passwd), Some(Identity { uid: 99, gid: 98 }));
        assert_eq!(nobody_in("nobody:x:0:0::/:\n"), None);
        assert_eq!(nobody_in("nobody:x\n"), None);
        assert_eq!(nobody_in(""), None);
    }
}
