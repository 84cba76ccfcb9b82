use proptest::prelude::*;

use super::*;
use crate::IdentityAttribute;

fn template(text: &str) -> TopicTemplate {
    TopicTemplate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn staff(subject: &str) -> Identity {
    Identity {
        subject: subject.into(),
        guard: "staff".into(),
        attributes: vec![IdentityAttribute {
            name: "site".into(),
            value: "north".into(),
        }],
        ..Identity::default()
    }
}

const OWN: &str = "commands/${guarded['staff'].identity}/set";

#[test]
fn it_matches_the_topics_of_the_caller_alone() {
    let own = template(OWN);
    let alice = staff("alice");
    assert!(own.allows_topic(Some(&alice), "commands/alice/set"));
    for topic in [
        "commands/bob/set",
        "commands/alice/get",
        "commands/alice/set/x",
        "commands//set",
        "commands",
    ] {
        assert!(!own.allows_topic(Some(&alice), topic), "{topic}");
    }
    let filter = |text: &str| TopicFilter::parse(text).expect("a filter");
    assert!(own.allows_filter(Some(&alice), &filter("commands/alice/set")));
    for text in [
        "commands/+/set",
        "commands/alice/+",
        "#",
        "commands/alice/#",
    ] {
        assert!(!own.allows_filter(Some(&alice), &filter(text)), "{text}");
    }
    assert_eq!(own.filter(Some(&alice)), Some(filter("commands/alice/set")));
    assert_eq!(own.guard(), "staff");
}

#[test]
fn nobody_else_matches() {
    let own = template(OWN);
    let other = Identity {
        guard: "others".into(),
        ..staff("alice")
    };
    for caller in [None, Some(&other)] {
        assert!(!own.allows_topic(caller, "commands/alice/set"));
        assert_eq!(own.filter(caller), None);
    }
}

#[test]
fn attributes_and_wildcards_around_them() {
    let alice = staff("alice");
    for text in [
        "${guarded['staff'].attributes.site}/+/#",
        "${guarded['staff'].attributes['site']}/+/#",
    ] {
        let site = template(text);
        assert!(site.allows_topic(Some(&alice), "north/1/x/y"));
        assert!(!site.allows_topic(Some(&alice), "south/1/x"));
        assert_eq!(site.first_level(Some(&alice)), Some("north"));
    }
    let missing = template("${guarded['staff'].attributes.town}/#");
    assert_eq!(missing.filter(Some(&alice)), None);
    let named = template("a/${guarded['staff'].attributes['https://a/b']}");
    assert!(!named.allows_topic(Some(&alice), "a/"));
}

#[test]
fn a_value_that_is_not_one_level_matches_nothing() {
    let (own, first) = (template(OWN), template("${guarded['staff'].identity}/#"));
    for subject in ["", "a/b", "+", "#", "a+", "a#", "/", "a\0"] {
        let caller = staff(subject);
        assert_eq!(own.filter(Some(&caller)), None, "{subject:?}");
        for topic in [format!("commands/{subject}/set"), "commands/a/b/set".into()] {
            assert!(!own.allows_topic(Some(&caller), &topic), "{subject:?}");
        }
        let all = TopicFilter::parse("commands/+/set").expect("a filter");
        assert!(!own.allows_filter(Some(&caller), &all), "{subject:?}");
    }
    for subject in ["$SYS", "$share", "$CONTROL"] {
        let caller = staff(subject);
        assert!(!first.allows_topic(Some(&caller), &format!("{subject}/a")));
        assert!(own.allows_topic(Some(&caller), &format!("commands/{subject}/set")));
    }
    // No topic contains a line end, so it needs no rule; quotes are characters like others.
    assert_eq!(own.filter(Some(&staff("a\nb"))), None);
    assert!(own.allows_topic(Some(&staff("o'\"x")), "commands/o'\"x/set"));
}

#[test]
fn errors_say_what_is_wrong() {
    for (text, expected) in [
        (
            "a/${guarded['staff'].name}",
            "unknown expression '${guarded['staff'].name}'",
        ),
        ("a/${guarded[staff].identity}", "unknown expression"),
        ("a/${guarded[''].identity}", "unknown expression"),
        ("a/${guarded['staff'].attributes.}", "unknown expression"),
        ("a/${guarded['staff'].attributes['x}", "unknown expression"),
        ("a/${x", "unknown expression '${x'"),
        ("a/u-${guarded['staff'].identity}", "must stand alone"),
        ("a/${guarded['staff'].identity}-u", "must stand alone"),
        (
            "${guarded['a'].identity}/${guarded['b'].identity}",
            "names the guards 'a' and 'b'",
        ),
        ("#/${guarded['a'].identity}", "'#' must be the last level"),
        ("$share/g/${guarded['a'].identity}", "shared subscriptions"),
    ] {
        let error = TopicTemplate::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

proptest! {
    /// Whatever the subject is, a template allows what the filter with that subject as a literal level
    /// would, and nothing of another caller.
    #[test]
    fn a_subject_reaches_one_level(subject in "[a-c/+#$\\x00]{0,4}", topic in "commands/[a-c/$]{0,4}/set") {
        let allowed = template(OWN).allows_topic(Some(&staff(&subject)), &topic);
        prop_assert_eq!(allowed, is_one_level(&subject) && topic == format!("commands/{subject}/set"));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a/+#${}'\\[\\].gurdeit]{0,40}") {
        if let Ok(template) = TopicTemplate::parse(&*text) {
            prop_assert!(TopicTemplate::is_template(template.text()));
        }
    }
}
