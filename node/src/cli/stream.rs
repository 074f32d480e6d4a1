//! Standard input, and the output of a command, as the content of a file.
//!
//! Invariant: a stream ends well only if whoever writes it says so: a command by its
//! exit code. Of standard input nobody can tell more than that it was closed.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    ops::Range,
    process::{Child, ChildStdout, Command, Stdio},
};

use env::{
    Clock,
    files::{FileTime, Kind, Metadata, SourceFile, Xattr},
};

use super::{text, trouble::Trouble};

/// Permissions of the file that a stream becomes: who may read it was not said.
const MODE: u32 = 0o600;

/// Where a stream comes from.
trait Origin: Send {
    /// Reads on; 0 once it has ended well.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

struct Stdin;

impl Origin for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::stdin().lock().read(buffer)
    }
}

/// A command that runs until it is dropped.
struct Running {
    name: OsString,
    child: Child,
    output: ChildStdout,
}

impl Origin for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.output.read(buffer)? {
            0 => {}
            read => return Ok(read),
        }
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        Err(io::Error::other(format!("{} failed: {status}", text::safe_path(&self.name))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream, read from its start to its end.
struct Stream {
    origin: Box<dyn Origin>,
    metadata: Metadata,
}

/// Standard input.
pub fn stdin(clock: &dyn Clock) -> Box<dyn SourceFile> {
    stream(Box::new(Stdin), clock)
}

/// What a command prints. What it complains about goes where our own complaints go.
pub fn output_of(command: &OsStr, args: &[&OsStr], clock: &dyn Clock) -> Result<Box<dyn SourceFile>, Trouble> {
    let name = text::safe_path(command);
    let started = Command::new(command).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| Trouble::invalid(format!("cannot run {name}: {error}")))?;
    let output = child.stdout.take().ok_or_else(|| Trouble::new("internal", format!("{name} has no output")))?;
    Ok(stream(Box::new(Running { name: command.to_owned(), child, output }), clock))
}

fn stream(origin: Box<dyn Origin>, clock: &dyn Clock) -> Box<dyn SourceFile> {
    let now = clock.now().0;
    let now = FileTime { secs: (now / 1000).cast_signed(), nanos: (now % 1000) as u32 * 1_000_000 };
    let metadata = Metadata {
        kind: Kind::File,
        len: 0,
        allocated: 0,
        mode: MODE,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: now,
        ctime: now,
        inode: 0,
        device: 0,
        links: 1,
        rdev: 0,
    };
    Box::new(Stream { origin, metadata })
}

impl SourceFile for Stream {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(self.metadata.clone())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.origin.read(buffer)?;
        self.metadata.len += read as u64;
        Ok(read)
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(offset..u64::MAX))
    }

    fn seek(&mut self, _: u64) {}

    fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemClock;

    fn read(source: &mut dyn SourceFile) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 64]);
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(all),
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
    }

    fn shell(script: &str) -> Box<dyn SourceFile> {
        output_of("sh".as_ref(), &["-c", script].map(OsStr::new), &SystemClock::default()).ok().unwrap()
    }

    #[test]
    fn what_a_command_prints_ends_well_only_if_the_command_does() {
        let mut well = shell("printf 'all of it'");
        assert_eq!(read(&mut *well).unwrap(), b"all of it");
        assert_eq!(well.metadata().unwrap().len, 9);
        let error = read(&mut *shell("printf half; exit 3")).unwrap_err();
        assert!(error.to_string().contains("sh failed: exit status: 3"), "{error}");
        assert!(output_of("/no/such/command".as_ref(), &[], &SystemClock::default()).is_err());
    }
}
