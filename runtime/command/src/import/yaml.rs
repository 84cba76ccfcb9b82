//! Writes YAML with comments.

use std::fmt::Write as _;

/// Columns of a comment.
const WIDTH: usize = 110;

/// A YAML text, and the warnings that are also comments in it.
#[derive(Debug, Default)]
pub(super) struct Yaml {
    text: String,
    warnings: Vec<String>,
}

impl Yaml {
    /// Appends a line, indented by `depth` times two spaces.
    pub(super) fn line(&mut self, depth: usize, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = 2 * depth);
    }

    /// Appends a comment in lines of limited width. A line break in it would end the comment, so texts
    /// of others must be [`quoted`].
    pub(super) fn comment(&mut self, depth: usize, text: &str) {
        let mut line = String::from("#");
        // Spaces at the beginning are kept: an indented command.
        let mut words = text.split(' ');
        let indent = text.len() - text.trim_start().len();
        for word in words.by_ref() {
            if line.len() > 1 && 2 * depth + line.len() + 1 + word.len() > WIDTH && indent == 0 {
                self.line(depth, &line);
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(depth, line.trim_end());
    }

    /// Appends a comment that is a warning, too.
    pub(super) fn warn(&mut self, depth: usize, text: &str) {
        self.comment(depth, text);
        self.warnings.push(text.to_owned());
    }

    /// The text and the warnings.
    pub(super) fn into_parts(self) -> (String, Vec<String>) {
        (self.text, self.warnings)
    }
}

/// A string in YAML, in double quotes and on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            // What YAML calls printable, without the marks that change the direction of text.
            ' '..='~'
            | '\u{a1}'..='\u{61b}'
            | '\u{61d}'..='\u{200a}'
            | '\u{2030}'..='\u{205f}'
            | '\u{2070}'..='\u{d7ff}'
            | '\u{10000}'..='\u{1fffd}' => quoted.push(character),
            other => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_are_wrapped_and_commands_are_not() {
        let mut yaml = Yaml::default();
        yaml.comment(1, &"word ".repeat(30));
        yaml.comment(0, &format!("  {}", "command ".repeat(20)));
        yaml.comment(0, "");
        let (text, _) = yaml.into_parts();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  # word") && lines[0].len() <= WIDTH);
        assert!(lines[1].starts_with("  # word") && lines[2].starts_with("#   command"));
        assert_eq!((lines.len(), lines[3]), (4, "#"));
    }

    proptest! {
        #[test]
        fn a_quoted_string_is_one_line_and_reads_as_the_same(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.contains('\n'));
            let read: String = serde_yaml::from_str(&format!("{quoted} # comment {quoted}")).expect("YAML");
            prop_assert_eq!(read, text);
        }
    }
}
