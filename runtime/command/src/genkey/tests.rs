//! Keys in configs: what is printed is accepted, what is written loads, and all else is unchanged.

use super::*;

const CONFIG: &str = "# The plant.
name: plant
guards:
  staff:   # who works here
    type: apikey
    options:
      keys:
        - { identity: old, hash: \"$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$IVQS/07EKrozrUqw0q/ncQ\" }  # until May
bindings:
  stdio0: { type: stdio, kind: server, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }
  mcp_mqtt0: { type: mcp_mqtt, kind: proxy, options: { subscribe: [], publish: [] }, exit: mqtt_client0 }
  mqtt_client0: { type: mqtt, kind: client, options: { username: a, password: \"${{env.NOT_SET_HERE}}\" }, exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: localhost } }
";

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-genkey-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn arguments(identity: &str) -> Genkey {
    Genkey {
        identity: identity.to_owned(),
        roles: vec!["operator".to_owned(), "a b".to_owned()],
        expires: Some("90d".to_owned()),
        config: None,
        guard: None,
    }
}

fn made(identity: &str) -> String {
    let key = Key::generate(getrandom::fill).expect("random numbers");
    line(&arguments(identity), &key).expect("a line")
}

#[test]
fn the_line_is_a_key_of_its_identity_with_roles_and_expiry() {
    for identity in ["alice", "a/+#\0\n\"'", "true", "9", "no"] {
        let line = made(identity);
        let ring: KeyRing = serde_yaml::from_str(&format!("[ {line} ]")).expect(&line);
        let stored = ring.iter().next().expect("a key");
        assert_eq!(stored.identity(), identity);
        assert_eq!(stored.id().map(str::len), Some(8));
        assert!(!line.contains('\n'), "{line}");
    }
    assert!(made("alice").contains("identity: alice, roles: [ operator, \"a b\" ], expires: "));
}

#[test]
fn arguments_that_make_no_key_are_refused() {
    let key = Key::generate(getrandom::fill).expect("random numbers");
    let error = line(&arguments(""), &key).expect_err("no identity");
    assert!(
        error.to_string().contains("'identity' must not be empty"),
        "{error}"
    );
    for text in ["", "soon", "90", "0d", "-1d", "9999999999w", "é"] {
        let arguments = Genkey {
            expires: Some(text.to_owned()),
            ..arguments("alice")
        };
        let error = line(&arguments, &key).expect_err(text);
        assert!(
            error.to_string().starts_with("invalid --expires"),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_kept() {
    let folder = Folder::new("meanwhile");
    let path = folder.file("plant.yaml", CONFIG);
    let draft = Draft::write(&path, "name: new\n").expect("a draft");
    fs::write(&path, "name: changed\n").expect("written");
    let error = draft.replace(&path, CONFIG).expect_err("it was changed");
    assert!(
        error.to_string().contains("changed by somebody else"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(&path).expect("the file"),
        "name: changed\n"
    );
    let left = fs::read_dir(&folder.0).expect("the folder").count();
    assert_eq!(left, 1, "no draft remains");
}

/// The gateway runs as another user than the administrator who adds a key.
#[cfg(unix)]
#[test]
fn a_file_keeps_its_owner() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = Folder::new("owner");
    let path = folder.file("plant.yaml", CONFIG);
    // Only root can give a file away; for others it stays their own.
    let _ = std::os::unix::fs::chown(&path, Some(12_345), Some(54_321));
    let owner = |path: &Path| {
        let found = fs::metadata(path).expect("the file");
        (found.uid(), found.gid())
    };
    let before = owner(&path);
    store(&path, "staff", &made("alice")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(owner(&path), before);
}

#[test]
fn a_key_is_added_and_everything_else_is_kept() {
    let folder = Folder::new("kept");
    let path = folder.file("plant.yaml", CONFIG);
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640))
        .expect("a mode");
    let link = folder.0.join("link.yaml");
    #[cfg(unix)]
    std::os::unix::fs::symlink("plant.yaml", &link).expect("a link");
    let added = made("alice");
    store(&link, "staff", &added).unwrap_or_else(|error| panic!("{error}"));
    let expected = CONFIG.replace("until May\n", &format!("until May\n        - {added}\n"));
    assert_eq!(fs::read_to_string(&path).expect("the file"), expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    }
    let left = fs::read_dir(&folder.0).expect("the folder").count();
    assert_eq!(left, 2, "no draft remains");
}

#[test]
fn a_config_without_guards_gets_one_and_a_file_of_keys_is_extended() {
    let folder = Folder::new("file");
    let (before, after) = CONFIG.split_once("guards:").expect("guards");
    let (_, bindings) = after.split_once("bindings:").expect("bindings");
    let path = folder.file("plant.yaml", &format!("{before}bindings:{bindings}"));
    store(&path, "staff", &made("alice")).unwrap_or_else(|error| panic!("{error}"));
    let config = check(&path).expect("it loads");
    assert_eq!(config.guards.len(), 1);

    let keys = folder.file("keys.yaml", "# nobody yet\n");
    let guards = "guards: { staff: { type: apikey, options: { file: keys.yaml } } }\nbindings:";
    let path = folder.file("other.yaml", &format!("{before}{guards}{bindings}"));
    for identity in ["alice", "bob"] {
        let written =
            store(&path, "staff", &made(identity)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(written, fs::canonicalize(&keys).expect("the file"));
    }
    let text = fs::read_to_string(&keys).expect("the file");
    let ring: KeyRing = serde_yaml::from_str(&text).expect("keys");
    assert_eq!(ring.iter().count(), 2);
    assert!(text.starts_with("# nobody yet\n"), "{text}");
}

#[test]
fn a_config_that_would_not_load_is_not_written() {
    let folder = Folder::new("refused");
    let line = made("alice");
    for (text, guard, error) in [
        (
            CONFIG.replace("kind: server", "kind: sever"),
            "staff",
            "unknown binding kind",
        ),
        (CONFIG.to_owned(), "9th", "was not changed"),
    ] {
        let path = folder.file("plant.yaml", &text);
        let found = store(&path, guard, &line).expect_err(error);
        assert!(found.to_string().contains(error), "{found}");
        assert_eq!(fs::read_to_string(&path).expect("the file"), text);
    }
    let missing = store(&folder.0.join("none.yaml"), "staff", &line).expect_err("no file");
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
    let left = fs::read_dir(&folder.0).expect("the folder").count();
    assert_eq!(left, 1, "no draft remains");
}
