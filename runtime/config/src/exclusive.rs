//! What only one binding of a config may have: a file, and the binding that an attachment stands for.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::check::Draft;
use crate::fault::Findings;
use crate::load::path;

/// Records a fault for each binding that has what an earlier one has.
pub(crate) fn check(drafts: &[Draft<'_>], findings: &mut Findings<'_>) {
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut attached: BTreeMap<&str, &str> = BTreeMap::new();
    for draft in drafts {
        for file in &draft.own_files {
            let at = path(&["bindings", &draft.name, "options", file.key]);
            let Some(first) = files.get(&plain(&file.path)) else {
                files.insert(plain(&file.path), at);
                continue;
            };
            let file = file.path.display();
            let message = format!(
                "'{file}' is also the file of {}",
                findings.place(first).join(".")
            );
            findings.value_with(
                &at,
                message,
                "use another path: each needs a file of its own",
            );
        }
        let attachment = draft.shape.and_then(|shape| shape.attachment);
        let exits = draft.exits.iter();
        for exit in exits.filter(|exit| attachment.is_some_and(|it| it.key == exit.name)) {
            let Some(first) = attached.insert(&exit.binding, &draft.name) else {
                continue;
            };
            let at = path(&["bindings", &draft.name, "exits", exit.name]);
            let (binding, name) = (&exit.binding, exit.name);
            let message = format!("'{binding}' is also the exit '{name}' of '{first}'");
            findings.value_with(
                &at,
                message,
                "add another binding: each needs one of its own",
            );
        }
    }
}

/// A path without what does not change it. Links are not followed.
fn plain(path: &Path) -> PathBuf {
    let components = path.components();
    components.filter(|it| *it != Component::CurDir).collect()
}
