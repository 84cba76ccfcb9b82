use proptest::prelude::*;

use super::*;

fn access(json: &str) -> TopicAccess {
    TopicAccess::new(serde_json::from_str(json).expect("entries"))
}

fn staff(subject: &str, roles: &[&str]) -> Identity {
    Identity {
        subject: subject.into(),
        guard: "staff".into(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        ..Identity::default()
    }
}

const LIST: &str = r#"[
    "status/#",
    {"pattern":"commands/#","guarded":{"staff":["operator"]}},
    {"pattern":"commands/+/get","guarded":{"staff":[]}},
    "own/${guarded['staff'].identity}/#",
    {"pattern":"night/${guarded['staff'].identity}","guarded":{"staff":["night"]}}
]"#;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a filter")
}

#[test]
fn each_caller_has_its_own_topics() {
    let access = access(LIST);
    let (operator, viewer) = (staff("olga", &["operator"]), staff("vera", &[]));
    let topic = |caller, topic| access.allows(caller, TopicRequest::Topic(topic));
    for caller in [None, Some(&operator), Some(&viewer)] {
        assert!(topic(caller, "status/1"));
        assert!(!topic(caller, "other/1") && !topic(caller, "own/eve/x"));
    }
    assert!(topic(Some(&operator), "commands/1/set"));
    assert!(!topic(Some(&viewer), "commands/1/set") && !topic(None, "commands/1/get"));
    assert!(topic(Some(&viewer), "commands/1/get"));
    assert!(topic(Some(&viewer), "own/vera/x") && !topic(Some(&viewer), "own/olga/x"));
    assert!(!topic(Some(&viewer), "night/vera"));
    assert!(topic(Some(&staff("nora", &["night"])), "night/nora"));
    let commands = filter("commands/#");
    let request = TopicRequest::Filter(&commands);
    assert!(access.allows(Some(&operator), request) && !access.allows(Some(&viewer), request));
    let filters = |caller| -> Vec<String> {
        let filters = access.filters(caller);
        filters.map(|filter| filter.to_string()).collect()
    };
    assert_eq!(filters(None), ["status/#"]);
    assert_eq!(
        filters(Some(&viewer)),
        ["status/#", "commands/+/get", "own/vera/#"]
    );
    assert_eq!(
        access.rule(Some(&viewer), TopicRequest::Topic("own/vera/x")),
        Some(3)
    );
    assert_eq!(access.rule(Some(&operator), request), Some(1));
    assert_eq!(access.rule(Some(&viewer), request), None);
}

#[test]
fn a_subject_that_is_not_one_level_reaches_nothing_more() {
    let access = access(r#"["own/${guarded['staff'].identity}/#"]"#);
    for subject in ["+", "#", "a/b", "", "a\0"] {
        let caller = staff(subject, &[]);
        assert!(!access.allows_any(Some(&caller)), "{subject:?}");
        assert_eq!(access.filters(Some(&caller)).count(), 0, "{subject:?}");
        for text in ["own/#", "own/+/#", "own/a/b/#", "own/a/#"] {
            let filter = filter(text);
            let request = TopicRequest::Filter(&filter);
            assert!(!access.allows(Some(&caller), request), "{subject:?} {text}");
        }
    }
}

#[test]
fn whether_anything_is_allowed() {
    let guarded = access(r#"[{"pattern":"a","guarded":{"staff":["operator"]}}]"#);
    assert!(guarded.allows_any(Some(&staff("o", &["operator"]))));
    assert!(!guarded.allows_any(Some(&staff("v", &[]))) && !guarded.allows_any(None));
    assert!(!access("[]").allows_any(None) && access(r#"["a"]"#).allows_any(None));
    assert!(guarded.depends_on_caller() && !access(r#"["a"]"#).depends_on_caller());
}

#[test]
fn the_fewest_scopes_that_would_allow_a_topic() {
    let access = access(
        r#"[
        {"pattern":"commands/#","guarded":{"staff":["a","b"]}},
        {"pattern":"commands/+/get","guarded":{"staff":["c"]}},
        {"pattern":"own/${guarded['staff'].identity}","guarded":{"staff":["d"]}}
    ]"#,
    );
    let stepping = Identity {
        step_up: true,
        ..staff("vera", &["a"])
    };
    let scopes = |caller: &Identity, topic| {
        let scopes = access.step_up(Some(caller), TopicRequest::Topic(topic));
        scopes.map(|scopes| scopes.join(" "))
    };
    assert_eq!(scopes(&stepping, "commands/1/set").as_deref(), Some("a b"));
    assert_eq!(scopes(&stepping, "commands/1/get").as_deref(), Some("c"));
    assert_eq!(scopes(&stepping, "own/vera").as_deref(), Some("d"));
    assert_eq!(scopes(&stepping, "own/eve"), None);
    assert_eq!(scopes(&stepping, "x"), None);
    assert_eq!(scopes(&staff("vera", &[]), "commands/1/set"), None);
    assert!(access.could_step_up(Some(&stepping)) && !access.could_step_up(None));
}

#[test]
fn the_other_case_of_a_first_level_is_that_of_the_callers_patterns() {
    let access = access(
        r#"["Plant/#", {"pattern":"PLANT/x","guarded":{"staff":["operator"]}}, "${guarded['staff'].identity}/a"]"#,
    );
    assert_eq!(access.other_case(None, "plant"), Some("Plant"));
    let operator = staff("Olga", &["operator"]);
    assert_eq!(
        access.other_case(Some(&operator), "plant"),
        None,
        "ambiguous"
    );
    assert_eq!(access.other_case(Some(&operator), "olga"), Some("Olga"));
    assert_eq!(access.other_case(None, "olga"), None);
    assert_eq!(access.other_case(None, "Plant"), None);
}

proptest! {
    /// The compiled decision is the one that the entries give one by one.
    #[test]
    fn the_decision_is_that_of_the_entries(
        patterns in prop::collection::vec(("[ab+]/[ab+]", 0..4_usize), 1..6),
        topic in "[ab]/[ab]",
        operator in any::<bool>(),
    ) {
        let entries: Vec<String> = patterns
            .iter()
            .map(|(pattern, who)| match who {
                0 => format!("\"{pattern}\""),
                1 => format!(r#"{{"pattern":"{pattern}","guarded":{{"staff":["operator"]}}}}"#),
                2 => format!(r#"{{"pattern":"{pattern}","guarded":{{"others":[]}}}}"#),
                _ => "\"${guarded['staff'].identity}/+\"".to_owned(),
            })
            .collect();
        let access = access(&format!("[{}]", entries.join(",")));
        let caller = staff("a", if operator { &["operator"] } else { &[] });
        for caller in [None, Some(&caller)] {
            let request = TopicRequest::Topic(&topic);
            prop_assert_eq!(access.allows(caller, request), access.rule(caller, request).is_some());
            let listed = access.filters(caller).any(|filter| filter.matches(&topic));
            prop_assert_eq!(access.allows(caller, request), listed);
        }
    }
}
