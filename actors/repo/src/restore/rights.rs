//! What this process may put back, and what of it it has to leave.
//!
//! Invariant: a file never gets a setuid or setgid bit that would lend the rights of
//! someone else than the backed-up owner.

use env::files::{self, Kind};
use protocol::format::tree::{Attributes, Blob, Xattr};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// What could not be put back, for want of rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Names whose owner or group is another than it was.
    pub owners: u64,
    /// Of those: files that had a setuid or setgid bit, and have not got it back.
    pub set_ids: u64,
    /// Extended attributes that only root may set.
    pub xattrs: u64,
}

impl Left {
    pub(super) fn merge(&mut self, more: Self) {
        self.owners += more.owners;
        self.set_ids += more.set_ids;
        self.xattrs += more.xattrs;
    }
}

/// What this process may do.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Whether it may set any owner, and what else only root may.
    pub all: bool,
    /// The owner and group of what it makes.
    pub own: (u32, u32),
}

impl Rights {
    /// The attributes to be set on something, as far as rights allow.
    pub fn attributes(
        &self,
        kind: Kind,
        attributes: &Attributes,
        mut xattrs: Vec<Xattr>,
        left: &mut Left,
    ) -> files::Attributes {
        let Attributes { mut mode, uid, gid, mtime, .. } = *attributes;
        if self.all {
            return files::Attributes { kind, mode, owner: Some((uid, gid)), mtime, xattrs };
        }
        let (own_uid, own_gid) = self.own;
        left.owners += u64::from((uid, gid) != self.own);
        let before = mode;
        if kind == Kind::File && uid != own_uid {
            mode &= !SETUID;
        }
        if kind == Kind::File && (uid != own_uid || gid != own_gid) {
            mode &= !SETGID;
        }
        left.set_ids += u64::from(mode != before);
        let count = xattrs.len();
        xattrs.retain(|xattr| self.may_set(&xattr.name));
        left.xattrs += (count - xattrs.len()) as u64;
        files::Attributes { kind, mode, owner: None, mtime, xattrs }
    }

    /// Whether it may set an extended attribute of this name.
    pub fn may_set(&self, name: &Blob) -> bool {
        self.all || !name.0.starts_with(b"trusted.") && !name.0.starts_with(b"security.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_owner_does_not_come_back_setuid() {
        let rights = Rights { all: false, own: (1000, 100) };
        let mut left = Left::default();
        let mut mode = |kind, uid, gid| {
            let attributes = Attributes { mode: 0o6755, uid, gid, ..Attributes::default() };
            rights.attributes(kind, &attributes, Vec::new(), &mut left).mode
        };
        assert_eq!(mode(Kind::File, 1000, 100), 0o6755);
        assert_eq!(mode(Kind::File, 0, 100), 0o755);
        assert_eq!(mode(Kind::File, 1000, 0), 0o4755);
        assert_eq!(mode(Kind::Directory, 0, 0), 0o6755);
        assert_eq!(left, Left { owners: 3, set_ids: 2, xattrs: 0 });
    }

    #[test]
    fn what_only_root_may_set_is_left_and_counted() {
        let names = ["security.capability", "trusted.x", "user.x", "system.posix_acl_access"];
        let xattrs = names.map(|name| Xattr { name: Blob(name.into()), value: Blob::default() }).to_vec();
        let set = |all| {
            let mut left = Left::default();
            let rights = Rights { all, own: (0, 0) };
            let set = rights.attributes(Kind::File, &Attributes::default(), xattrs.clone(), &mut left);
            (set.xattrs.len(), left.xattrs)
        };
        assert_eq!((set(true), set(false)), ((4, 0), (2, 2)));
    }
}
