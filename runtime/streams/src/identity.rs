//! The identity of an authenticated caller, as stated by the edge that authenticated it.
//!
//! Only that edge parses credentials; bindings behind it read the identity that the stream carries.
//! A stream without an identity is anonymous.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// One attribute of an identity: a token claim or a certificate field.
    pub struct IdentityAttribute "attribute" {
        /// Attribute name, e.g. `department`.
        name "name": ByteString = ByteString::new(),
        /// Attribute value.
        value "value": ByteString = ByteString::new(),
    }
}
crate::record_field!(IdentityAttribute);

extension! {
    /// An authenticated caller.
    ///
    /// ```
    /// use tidegate_streams::Identity;
    /// let alice = Identity {
    ///     subject: "alice".into(),
    ///     roles: vec!["operator".into()],
    ///     ..Identity::default()
    /// };
    /// assert!(alice.has_role("operator") && !alice.has_role("admin"));
    /// assert!(!alice.is_expired(u64::MAX), "it states no expiry");
    /// ```
    pub struct Identity "identity" {
        /// Subject: the key's name, the token's subject or the certificate's name.
        subject "subject": ByteString = ByteString::new(),
        /// Name in the config of the guard that authenticated the caller.
        guard "guard": ByteString = ByteString::new(),
        /// Roles or scopes granted by the guard.
        roles "roles": Vec<ByteString> = Vec::new(),
        /// Further attributes stated by the guard.
        attributes "attributes": Vec<IdentityAttribute> = Vec::new(),
        /// Expiry, in milliseconds since the Unix epoch; 0: never.
        expires "expires": u64 = 0,
        /// Whether the roles are OAuth scopes: a caller that lacks one can ask its authorization
        /// server for it. Otherwise its roles are fixed, and a refusal names no role to ask for.
        step_up "stepUp": bool = false,
    }
}
crate::record_field!(Identity);

impl Identity {
    /// Whether the guard grants `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|granted| granted == role)
    }

    /// Value of an attribute, if present.
    pub fn attribute(&self, name: &str) -> Option<&ByteString> {
        let named = self.attributes.iter().find(|it| it.name == name);
        named.map(|attribute| &attribute.value)
    }

    /// Whether both name the same subject of the same guard, whatever it may do.
    pub fn is_same_subject(&self, other: &Self) -> bool {
        self.subject == other.subject && self.guard == other.guard
    }

    /// Whether both may do the same: they differ in their expiry at most.
    pub fn has_same_rights(&self, other: &Self) -> bool {
        self.is_same_subject(other)
            && self.roles == other.roles
            && self.attributes == other.attributes
            && self.step_up == other.step_up
    }

    /// Whether the identity has expired at a time given in milliseconds since the Unix epoch.
    pub const fn is_expired(&self, unix_millis: u64) -> bool {
        self.expires != 0 && self.expires <= unix_millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field as _;

    #[test]
    fn an_identity_prints_and_parses_as_a_record() {
        let identity = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            roles: vec!["operator".into()],
            attributes: vec![IdentityAttribute {
                name: "site".into(),
                value: "north".into(),
            }],
            expires: 7_000,
            step_up: true,
        };
        let value = identity.to_value();
        assert_eq!(
            value.to_string(),
            r#"{subject="alice", guard="staff", roles=["operator"], attributes=[{name="site", value="north"}], expires=7000, stepUp=true}"#
        );
        assert_eq!(Identity::from_value(&value), Ok(identity));
    }

    #[test]
    fn the_same_subject_may_come_with_other_rights() {
        let alice = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            roles: vec!["viewer".into()],
            expires: 7_000,
            ..Identity::default()
        };
        let fresh = Identity {
            expires: 9_000,
            ..alice.clone()
        };
        assert!(alice.is_same_subject(&fresh) && alice.has_same_rights(&fresh));
        let promoted = Identity {
            roles: Vec::new(),
            ..alice.clone()
        };
        assert!(alice.is_same_subject(&promoted) && !alice.has_same_rights(&promoted));
        let other = Identity {
            guard: "others".into(),
            ..alice.clone()
        };
        assert!(!alice.is_same_subject(&other) && !alice.has_same_rights(&other));
    }

    #[test]
    fn roles_attributes_and_expiry_are_looked_up() {
        let identity = Identity {
            roles: vec!["viewer".into()],
            attributes: vec![IdentityAttribute {
                name: "site".into(),
                value: "north".into(),
            }],
            expires: 7_000,
            ..Identity::default()
        };
        assert!(identity.has_role("viewer") && !identity.has_role("view"));
        assert_eq!(identity.attribute("site").map(|it| &**it), Some("north"));
        assert_eq!(identity.attribute("sit"), None);
        assert!(!identity.is_expired(6_999) && identity.is_expired(7_000));
    }
}
