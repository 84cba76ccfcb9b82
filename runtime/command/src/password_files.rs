//! Reads the password files of `mqtt · client`: small local files, once for each connection.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use bytes::Bytes;
use tidegate_binding_mqtt::client::ReadPassword;

/// More than MQTT allows in a password, so that a larger file is recognised without reading it all.
const READ_MAX: u64 = 65_535 + 3;

/// The files of this host. A relative path begins at the working directory.
#[derive(Debug)]
pub(crate) struct PasswordFiles;

impl ReadPassword for PasswordFiles {
    fn read(&self, path: &Path) -> Result<Bytes, String> {
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(READ_MAX).read_to_end(&mut content));
        read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "it does not exist".to_owned(),
            ErrorKind::PermissionDenied => "it is not readable for this user".to_owned(),
            _ => error.to_string(),
        })?;
        if content.last() == Some(&b'\n') {
            content.pop();
            if content.last() == Some(&b'\r') {
                content.pop();
            }
        }
        Ok(content.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_removed_and_faults_are_named() {
        let folder = std::env::temp_dir().join(format!("tidegate-password-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("token");
        for (content, expected) in [
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
        ] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(PasswordFiles.read(&path), Ok(expected.into()));
        }
        let missing = PasswordFiles.read(&folder.join("other"));
        assert_eq!(missing, Err("it does not exist".to_owned()));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
