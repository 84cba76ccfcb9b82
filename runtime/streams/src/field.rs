//! How extension fields print and parse: one declaration gives the struct, its script form and its
//! documentation.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

/// Script form of a field: what a scenario writes after `name=`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A bare word: an enumeration's or a flag's name, `true`, `false`, `null`.
    Word(String),
    /// A whole number.
    Integer(i64),
    /// A quoted string.
    Text(ByteString),
    /// Bytes that are not valid UTF-8.
    Hex(Bytes),
    /// `[a, b]`
    List(Vec<Value>),
    /// `{name=value, …}`
    Record(Vec<(String, Value)>),
}

/// Error returned when setting a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The extension has no field of this name.
    #[error("unknown field '{name}'; valid: {known}")]
    Unknown {
        /// The name as given.
        name: String,
        /// The valid names.
        known: String,
    },
    /// The value has the wrong type or range.
    #[error("expected {wanted}, found '{given}'")]
    Mismatch {
        /// The value as printed.
        given: String,
        /// What the field accepts.
        wanted: &'static str,
    },
}

impl FieldError {
    fn mismatch(given: &Value, wanted: &'static str) -> Self {
        Self::Mismatch {
            given: given.to_string(),
            wanted,
        }
    }
}

/// A type usable as a field of an extension.
pub trait Field: Sized + PartialEq {
    /// Converts to the script form.
    fn to_value(&self) -> Value;
    /// Parses the script form.
    fn from_value(value: &Value) -> Result<Self, FieldError>;
}

/// Name and description of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldDoc {
    /// The specified name, e.g. `sessionId`.
    pub name: &'static str,
    /// Description, from the doc comment.
    pub doc: &'static str,
}

/// A typed extension with fields that can be listed, printed and set by name.
pub trait Extension: Default + PartialEq {
    /// The word that identifies it in scripts, e.g. `toolsCall`.
    const WORD: &'static str;
    /// Its fields, in order.
    const FIELDS: &'static [FieldDoc];
    /// The fields that differ from their defaults, in order.
    fn fields(&self) -> Vec<(&'static str, Value)>;
    /// A field by its specified name, also if it has its default value.
    fn value(&self, name: &str) -> Option<Value>;
    /// Sets a field by its specified name.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError>;
}

/// Declares an extension: struct, defaults, field documentation, printer and parser.
#[macro_export]
macro_rules! extension {
    (
        $(#[doc = $doc:literal])+
        pub struct $type:ident $word:literal {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident $name:literal : $field_type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $type {
            $( $(#[doc = $field_doc])+ pub $field: $field_type, )*
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::Extension for $type {
            const WORD: &'static str = $word;
            const FIELDS: &'static [$crate::FieldDoc] = &[
                $( $crate::FieldDoc { name: $name, doc: concat!($($field_doc),+) }, )*
            ];

            #[allow(unused_mut, clippy::let_and_return)]
            fn fields(&self) -> Vec<(&'static str, $crate::Value)> {
                let mut fields = Vec::new();
                $(
                    let default: $field_type = $default;
                    if self.$field != default {
                        fields.push(($name, $crate::Field::to_value(&self.$field)));
                    }
                )*
                fields
            }

            fn value(&self, name: &str) -> Option<$crate::Value> {
                match name {
                    $( $name => Some($crate::Field::to_value(&self.$field)), )*
                    _ => None,
                }
            }

            #[allow(unused_variables)]
            fn set(&mut self, name: &str, value: &$crate::Value) -> Result<(), $crate::FieldError> {
                match name {
                    $( $name => {
                        self.$field = $crate::Field::from_value(value)?;
                        Ok(())
                    } )*
                    _ => Err($crate::FieldError::Unknown {
                        name: name.to_owned(),
                        known: <[&str]>::join(&[$($name),*], ", "),
                    }),
                }
            }
        }
    };
}

/// Declares an enumeration whose script form is the specified name.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        pub enum $type:ident {
            $( $(#[doc = $variant_doc:literal])+ $variant:ident $word:literal ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $( $(#[doc = $variant_doc])+ $variant, )*
        }

        impl $type {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The specified word.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::Field for $type {
            fn to_value(&self) -> $crate::Value {
                $crate::Value::Word(self.word().to_owned())
            }

            fn from_value(value: &$crate::Value) -> Result<Self, $crate::FieldError> {
                match value {
                    $( $crate::Value::Word(word) if word == $word => Ok(Self::$variant), )*
                    _ => Err($crate::FieldError::Mismatch {
                        given: value.to_string(),
                        wanted: concat!("one of: ", $($word, " "),*),
                    }),
                }
            }
        }
    };
}

/// Declares a set of flags. Its script form is the flag names joined by `|`, or `0`.
#[macro_export]
macro_rules! flags {
    (
        $(#[doc = $doc:literal])+
        pub struct $type:ident($bits:ty) {
            $( $(#[doc = $flag_doc:literal])+ $flag:ident = $value:expr ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type($bits);

        impl $type {
            /// No flag.
            pub const NONE: Self = Self(0);
            $( $(#[doc = $flag_doc])+ pub const $flag: Self = Self($value); )*

            /// The union of both sets.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The union with `other` if `on`, else `self`.
            #[must_use]
            pub const fn with_if(self, other: Self, on: bool) -> Self {
                if on { self.with(other) } else { self }
            }

            /// Whether every flag of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The set as a bit mask.
            pub const fn bits(self) -> $bits {
                self.0
            }
        }

        impl $crate::Field for $type {
            fn to_value(&self) -> $crate::Value {
                let names: Vec<&str> = [$((stringify!($flag), Self::$flag)),*]
                    .iter()
                    .filter(|(_, flag)| self.contains(*flag))
                    .map(|(name, _)| *name)
                    .collect();
                if names.is_empty() {
                    $crate::Value::Integer(0)
                } else {
                    $crate::Value::Word(names.join("|"))
                }
            }

            fn from_value(value: &$crate::Value) -> Result<Self, $crate::FieldError> {
                match value {
                    $crate::Value::Integer(0) => Ok(Self::NONE),
                    $crate::Value::Word(words) => {
                        let mut flags = Self::NONE;
                        for word in words.split('|') {
                            flags = flags.with(match word {
                                $( stringify!($flag) => Self::$flag, )*
                                _ => return Err($crate::FieldError::Mismatch {
                                    given: word.to_owned(),
                                    wanted: concat!("flags out of: ", $(stringify!($flag), " "),*),
                                }),
                            });
                        }
                        Ok(flags)
                    }
                    _ => Err($crate::FieldError::Mismatch {
                        given: value.to_string(),
                        wanted: "set of flags",
                    }),
                }
            }
        }
    };
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{:?}", &text[..]),
            Self::Hex(bytes) => {
                f.write_str("x\"")?;
                for byte in bytes {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("\"")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Record(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

macro_rules! integer_field {
    ($($type:ty => $wanted:literal),*) => { $(
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn from_value(value: &Value) -> Result<Self, FieldError> {
                match value {
                    Value::Integer(number) => Self::try_from(*number)
                        .map_err(|_| FieldError::mismatch(value, $wanted)),
                    _ => Err(FieldError::mismatch(value, $wanted)),
                }
            }
        }
    )* };
}

integer_field!(
    u8 => "number from 0 to 255",
    u16 => "number from 0 to 65535",
    u32 => "number from 0 to 4294967295",
    u64 => "number",
    i64 => "number"
);

impl Field for bool {
    fn to_value(&self) -> Value {
        Value::Word(self.to_string())
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::Word(word) if word == "true" => Ok(true),
            Value::Word(word) if word == "false" => Ok(false),
            _ => Err(FieldError::mismatch(value, "true or false")),
        }
    }
}

impl Field for ByteString {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(FieldError::mismatch(value, "quoted string")),
        }
    }
}

impl Field for Bytes {
    fn to_value(&self) -> Value {
        match ByteString::try_from(self.clone()) {
            Ok(text) => Value::Text(text),
            Err(_) => Value::Hex(self.clone()),
        }
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::Text(text) => Ok(text.as_bytes().clone()),
            Value::Hex(bytes) => Ok(bytes.clone()),
            _ => Err(FieldError::mismatch(value, "string or x\"…\"")),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref()
            .map_or_else(|| Value::Word("null".to_owned()), Field::to_value)
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::Word(word) if word == "null" => Ok(None),
            _ => T::from_value(value).map(Some),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Field::to_value).collect())
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::List(items) => items.iter().map(T::from_value).collect(),
            _ => Err(FieldError::mismatch(value, "list")),
        }
    }
}

/// Makes an extension usable as a field of another extension, in record form.
#[macro_export]
macro_rules! record_field {
    ($type:ty) => {
        impl $crate::Field for $type {
            fn to_value(&self) -> $crate::Value {
                let fields = $crate::Extension::fields(self);
                $crate::Value::Record(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }

            fn from_value(value: &$crate::Value) -> Result<Self, $crate::FieldError> {
                let $crate::Value::Record(fields) = value else {
                    return Err($crate::FieldError::Mismatch {
                        given: value.to_string(),
                        wanted: "record {name=value, …}",
                    });
                };
                let mut record = Self::default();
                for (name, value) in fields {
                    $crate::Extension::set(&mut record, name, value)?;
                }
                Ok(record)
            }
        }
    };
}
