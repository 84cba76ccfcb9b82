//! The topics of announcements.

/// What the topic of an announcement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced<'a> {
    /// The kind of entity, or `device`.
    pub(super) component: &'a str,
    pub(super) node: Option<&'a str>,
    pub(super) object: &'a str,
}

/// Reads `{prefix}/{component}/[{node}/]{object}/config`.
pub(super) fn parse<'a>(prefix: &str, topic: &'a str) -> Option<Announced<'a>> {
    let rest = topic.strip_prefix(prefix)?.strip_prefix('/')?;
    let rest = rest.strip_suffix("/config")?;
    let mut levels = rest.split('/');
    let component = levels.next().filter(|it| is_component(it))?;
    let first = levels.next().filter(|it| is_id(it))?;
    let announced = match levels.next() {
        None => Announced {
            component,
            node: None,
            object: first,
        },
        Some(object) if is_id(object) => Announced {
            component,
            node: Some(first),
            object,
        },
        Some(_) => return None,
    };
    levels.next().is_none().then_some(announced)
}

fn is_component(level: &str) -> bool {
    !level.is_empty()
        && level
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

fn is_id(level: &str) -> bool {
    !level.is_empty()
        && level
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_topics_are_read() {
        let announced = |component, node, object| {
            Some(Announced {
                component,
                node,
                object,
            })
        };
        for (topic, expected) in [
            ("ha/light/lamp/config", announced("light", None, "lamp")),
            (
                "ha/light/n-1/lamp_2/config",
                announced("light", Some("n-1"), "lamp_2"),
            ),
            ("ha/device/0AF/config", announced("device", None, "0AF")),
            ("ha/light/config", None),
            ("ha/light//config", None),
            ("ha/light/a/b/c/config", None),
            ("ha/light/a b/config", None),
            ("ha/light/lamp/state", None),
            ("other/light/lamp/config", None),
            ("hax/light/lamp/config", None),
            ("ha/status", None),
        ] {
            assert_eq!(parse("ha", topic), expected, "{topic}");
        }
        assert!(parse("a/b", "a/b/light/lamp/config").is_some());
    }
}
