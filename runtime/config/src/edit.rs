//! Adds an element to a list of a YAML text and keeps the rest of the text: comments, order, quotes.
//!
//! The place is found as for faults ([`locate`]) and the element inserted as text. The result is parsed
//! and compared with what it should be, so that a text in an unexpected style is refused instead of
//! damaged.

use serde_yaml::{Mapping, Value};

use crate::locate::{Target, locate};

/// Members that a mapping needs if it is created: its depth below the root, and the members.
type Siblings<'a> = (usize, &'a [(&'a str, &'a str)]);

/// The members of a created mapping at a depth, beside the one that leads to the list.
fn members_at((depth, members): Siblings<'_>, at: usize) -> impl Iterator<Item = (&str, &str)> {
    members.iter().copied().filter(move |_| at == depth)
}

/// The text, ended by a line feed unless it is empty.
fn ended(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Adds `element`, YAML in flow style, to the list at `path`; creates the list, and the mappings above
/// it. A mapping that is created gets the members `siblings` if it is the one at depth `depth`.
///
/// Returns `None` if the text is invalid or in a style in which the place cannot be found.
pub fn append(text: &str, path: &[&str], element: &str, siblings: Siblings<'_>) -> Option<String> {
    let value: Value = serde_yaml::from_str(text).ok()?;
    let added: Value = serde_yaml::from_str(element).ok()?;
    let existing = (0..=path.len()).rev().find(|count| {
        let found = path.get(..*count).and_then(|path| get(&value, path));
        found.is_some_and(|found| !found.is_null())
    });
    let edited = match existing {
        // Nothing but comments.
        None => {
            let node = rendered(path, element, 0, siblings);
            ended(text.to_owned()) + &node.block(0)
        }
        Some(count) => {
            let (above, below) = path.split_at_checked(count)?;
            let node = rendered(below, element, count, siblings);
            insert(text, above, &node)?
        }
    };
    let mut expected = value;
    put(&mut expected, path, added, 0, siblings)?;
    let actual: Value = serde_yaml::from_str(&edited).ok()?;
    (actual == expected).then_some(edited)
}

fn get<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| value.get(*step))
}

/// The same change to the parsed value.
fn put(
    value: &mut Value,
    path: &[&str],
    added: Value,
    at: usize,
    siblings: Siblings<'_>,
) -> Option<()> {
    let Some((step, below)) = path.split_first() else {
        if value.is_null() {
            *value = Value::Sequence(Vec::new());
        }
        value.as_sequence_mut()?.push(added);
        return Some(());
    };
    if value.is_null() {
        let mut created = Mapping::new();
        for (key, text) in members_at(siblings, at) {
            created.insert(key.into(), text.into());
        }
        *value = Value::Mapping(created);
    }
    let members = value.as_mapping_mut()?;
    let member = members.entry((*step).into()).or_insert(Value::Null);
    put(member, below, added, at + 1, siblings)
}

/// YAML to be inserted.
enum Node {
    Scalar(String),
    List(String),
    Members(Vec<(String, Self)>),
}

fn rendered(path: &[&str], element: &str, at: usize, siblings: Siblings<'_>) -> Node {
    let Some((step, below)) = path.split_first() else {
        return Node::List(element.to_owned());
    };
    // A mapping that is there already keeps its members: `at` of the first one is below it.
    let below = match rendered(below, element, at + 1, siblings) {
        Node::Members(inner) => {
            let own = members_at(siblings, at + 1);
            let own = own.map(|(key, text)| (key.to_owned(), Node::Scalar(text.to_owned())));
            Node::Members(own.chain(inner).collect())
        }
        list => list,
    };
    Node::Members(vec![((*step).to_owned(), below)])
}

impl Node {
    /// Block style, as lines with an indent.
    fn block(&self, indent: usize) -> String {
        let space = " ".repeat(indent);
        match self {
            Self::Scalar(text) => format!("{space}{text}\n"),
            Self::List(element) => format!("{space}- {element}\n"),
            Self::Members(members) => {
                let lines = members.iter().map(|(key, node)| match node {
                    Self::Scalar(text) => format!("{space}{key}: {text}\n"),
                    other => format!("{space}{key}:\n{}", other.block(indent + 2)),
                });
                lines.collect()
            }
        }
    }

    /// Flow style, without the brackets of the outermost.
    fn flow(&self) -> String {
        match self {
            Self::Scalar(text) | Self::List(text) => text.clone(),
            Self::Members(members) => {
                let members = members.iter().map(|(key, node)| match node {
                    Self::Scalar(text) => format!("{key}: {text}"),
                    Self::List(element) => format!("{key}: [ {element} ]"),
                    Self::Members(_) => format!("{key}: {{ {} }}", node.flow()),
                });
                members.collect::<Vec<String>>().join(", ")
            }
        }
    }
}

/// Inserts into the list or mapping at a path.
fn insert(text: &str, path: &[&str], node: &Node) -> Option<String> {
    let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
    let start = locate(text, &path, Target::Value);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (above, line) = (lines.get(..start.line - 1)?, lines.get(start.line - 1)?);
    let before = line.chars().take(start.column - 1).map(char::len_utf8);
    let offset = above.iter().map(|line| line.len()).sum::<usize>() + before.sum::<usize>();
    let rest = text.get(offset..)?;
    if rest.starts_with(['[', '{']) {
        let end = offset + closing(rest)?;
        let inside = text.get(offset + 1..end)?;
        let content = inside.trim_end();
        let comma = match content.trim() {
            "" => " ",
            content if content.ends_with(',') => " ",
            _ => ", ",
        };
        // Behind a comment the element would be part of it.
        let at = if inside.contains('#') {
            end
        } else {
            offset + 1 + content.len()
        };
        let (head, tail) = (text.get(..at)?, text.get(end..)?);
        return Some(format!("{head}{comma}{} {tail}", node.flow()));
    }
    let indent = start.column - 1;
    let mut end = start.line;
    for (index, line) in lines.iter().enumerate().skip(start.line) {
        let content = line.trim_start_matches(' ');
        if content.trim().is_empty() || content.starts_with('#') {
            continue;
        }
        let depth = line.len() - content.len();
        let is_list = matches!(node, Node::List(_));
        let ends = depth < indent || (is_list && depth == indent && !content.starts_with("- "));
        if ends || content.starts_with("...") || content.starts_with("---") {
            break;
        }
        end = index + 1;
    }
    let mut edited = ended(lines.iter().take(end).copied().collect());
    edited.push_str(&node.block(indent));
    edited.extend(lines.iter().skip(end).copied());
    Some(edited)
}

/// Offset of the bracket that closes the one at the start of a text.
fn closing(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut comment = false;
    let mut previous = ' ';
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if comment {
            comment = letter != '\n';
        } else if let Some(mark) = quote {
            if escaped {
                escaped = false;
            } else if letter == '\\' && mark == '"' {
                escaped = true;
            } else if letter == mark {
                quote = None;
            }
        } else {
            match letter {
                '#' if previous.is_whitespace() => comment = true,
                // Within a word they are letters.
                '"' | '\'' if !previous.is_alphanumeric() => quote = Some(letter),
                '[' => open.push(']'),
                '{' => open.push('}'),
                ']' | '}' => {
                    if open.pop() != Some(letter) {
                        return None;
                    }
                    if open.is_empty() {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        previous = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: [&str; 4] = ["guards", "staff", "options", "keys"];

    fn edit(text: &str) -> Option<String> {
        append(text, &PATH, "{ id: b }", (2, &[("type", "apikey")]))
    }

    #[track_caller]
    fn becomes(text: &str, expected: &str) {
        assert_eq!(edit(text).as_deref(), Some(expected), "{text}");
    }

    #[test]
    fn a_block_list_keeps_its_indent_and_its_comments() {
        becomes(
            "guards:
  staff:
    type: apikey   # who works here
    options:
      keys:
        # Alice has two.
        - id: a
          roles: [ x ]   # read

        - { id: c }

      # not a key
      waiting: 3
bindings: {}
",
            "guards:
  staff:
    type: apikey   # who works here
    options:
      keys:
        # Alice has two.
        - id: a
          roles: [ x ]   # read

        - { id: c }
        - { id: b }

      # not a key
      waiting: 3
bindings: {}
",
        );
        // A list at the indent of its key, at the end, without a newline.
        becomes(
            "guards:\n  staff:\n    options:\n      keys:\n      - { id: a }",
            "guards:\n  staff:\n    options:\n      keys:\n      - { id: a }\n      - { id: b }\n",
        );
    }

    #[test]
    fn flow_lists_and_mappings_are_extended() {
        becomes(
            "guards: { staff: { options: { keys: [ { id: a, hash: \"]}\" }, ] } } } # ok\n",
            "guards: { staff: { options: { keys: [ { id: a, hash: \"]}\" }, { id: b } ] } } } # ok\n",
        );
        becomes(
            "guards:\n  staff: { options: { keys: [] } }\n",
            "guards:\n  staff: { options: { keys: [ { id: b } ] } }\n",
        );
        becomes(
            "guards:\n  staff: { type: apikey }\nname: it's\n",
            "guards:\n  staff: { type: apikey, options: { keys: [ { id: b } ] } }\nname: it's\n",
        );
        becomes(
            "guards: {}\n",
            "guards: { staff: { type: apikey, options: { keys: [ { id: b } ] } } }\n",
        );
        becomes(
            "guards: { staff: { options: { keys: [\n  { id: a } # it's [\n] } } }\n",
            "guards: { staff: { options: { keys: [\n  { id: a } # it's [\n, { id: b } ] } } }\n",
        );
    }

    #[test]
    fn missing_keys_are_created() {
        let guard = "  staff:\n    type: apikey\n    options:\n      keys:\n        - { id: b }\n";
        becomes("name: a\n", &format!("name: a\nguards:\n{guard}"));
        becomes("", &format!("guards:\n{guard}"));
        becomes(
            "guards:\n  # others\n  others:\n    type: jwt\nname: a\n",
            &format!("guards:\n  # others\n  others:\n    type: jwt\n{guard}name: a\n"),
        );
        becomes(
            "guards:\n  staff:\n    type: apikey\n\nname: a\n",
            &format!("guards:\n{guard}\nname: a\n"),
        );
    }

    #[test]
    fn a_list_that_is_the_whole_file_is_extended() {
        let edit = |text| append(text, &[], "{ id: b }", (0, &[]));
        assert_eq!(
            edit("# keys\n- { id: a }\n").as_deref(),
            Some("# keys\n- { id: a }\n- { id: b }\n")
        );
        assert_eq!(edit("").as_deref(), Some("- { id: b }\n"));
        assert_eq!(edit("a: 1\n"), None);
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        for text in [
            ": : :",
            "guards: [ 1 ]\n",
            "guards: &g { staff: { options: { keys: *k } } }\n",
            "guards:\n  staff:\n    options:\n      keys: text\n",
        ] {
            assert_eq!(edit(text), None, "{text}");
        }
    }
}
