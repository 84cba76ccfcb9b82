//! A Unix socket in the file system.
//!
//! - A socket that a gateway left behind, for example because it was killed, is replaced. One that a
//!   process listens on is not, nor is a file of another type.
//! - It has its mode and owner before the first client can connect.
//! - It is removed at the stop, unless another process has replaced it.
//! - All workers accept from one socket: each has its own descriptor of it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use crate::listener::BACKLOG;
use crate::options::UnixSocket;

/// A bound and listening Unix socket.
pub(crate) struct BoundSocket {
    path: PathBuf,
    listener: StdListener,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl BoundSocket {
    pub(crate) fn bind(path: &Path, access: &UnixSocket) -> io::Result<Self> {
        let (owner, group) = ids(access)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        // From here on, the file is removed on an error.
        let bound = Self {
            file: identity(path)?,
            path: path.to_owned(),
            listener: socket.into(),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode.0))?;
        if owner.is_some() || group.is_some() {
            chown(path, owner, group)
                .map_err(|error| explain(&error, "cannot set its owner or group"))?;
        }
        let socket = socket2::SockRef::from(&bound.listener);
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(bound)
    }

    /// A listener of the worker that calls this.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, if it is still the one that was created.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the Unix socket");
        }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket that no process listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |what| io::Error::new(io::ErrorKind::AddrInUse, what);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(in_use(
            "the file exists and is not a socket; remove it, or use another path",
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(in_use(
            "another process listens on it; stop that process, or use another path",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a Unix socket that no process listens on");
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(explain(
            &error,
            "it exists, and whether a process listens on it cannot be found out",
        )),
    }
}

fn explain(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn ids(access: &UnixSocket) -> io::Result<(Option<u32>, Option<u32>)> {
    let id = |name: &Option<String>, file: &str, what: &str| {
        let Some(name) = name else { return Ok(None) };
        if let Ok(id) = name.parse() {
            return Ok(Some(id));
        }
        let table = fs::read_to_string(file)?;
        id_of(&table, name).map(Some).ok_or_else(|| {
            let message = format!("unknown {what} '{name}'; use a name of {file}, or a number");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    };
    Ok((
        id(&access.owner, "/etc/passwd", "owner")?,
        id(&access.group, "/etc/group", "group")?,
    ))
}

/// The number of a name in the format of `passwd` and `group`: `name:password:number:…`
fn id_of(table: &str, name: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_system_tables() {
        let table =
            "root:x:0:0:root:/root:/bin/sh\n# comment\nmqtt:x:112:118::/var/lib:/bin/false\n";
        assert_eq!(id_of(table, "root"), Some(0));
        assert_eq!(id_of(table, "mqtt"), Some(112));
        for name in ["mq", "", "x", "# comment"] {
            assert_eq!(id_of(table, name), None, "{name}");
        }
    }
}
