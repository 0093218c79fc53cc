//! Who sits at this terminal, as the machine knows them: what somebody says of themselves stands beside it, not instead.

use std::{fmt, fs};

use talkfleet_shared::audit::audit_text;

/// An account on a machine.
pub(super) struct Whence {
    pub(super) account: String,
    machine: String,
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.account, self.machine)
    }
}

/// This process's account and machine, asked of the kernel: variables are anybody's to set.
pub(super) fn here() -> Whence {
    let uid = rustix::process::getuid().as_raw();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Whence { account: account(&accounts, uid), machine: audit_text(&machine) }
}

/// The name of an account in `/etc/passwd`; in a container there may be none.
fn account(accounts: &str, uid: u32) -> String {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| audit_text(name))
    };
    accounts.lines().find_map(named).unwrap_or_else(|| format!("uid-{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_or_numbered() {
        let accounts = "root:x:0:0:root:/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbroken\n";
        assert_eq!((account(accounts, 1000), account(accounts, 7)), ("ann".into(), "uid-7".into()));
        assert!(here().to_string().contains('@'));
    }
}
