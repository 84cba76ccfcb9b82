use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect(text)
}

#[test]
fn names_are_checked() {
    for name in ["a", "/", "a//b", "$SYS/x", "ä/\u{10FFFD}", " "] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    assert_eq!(check_name(""), Err(TopicError::Empty));
    for (name, character, position) in [("a\0", '\0', 2), ("ä/\u{9f}+", '\u{9f}', 3)] {
        let forbidden = ForbiddenCharacter {
            character,
            position,
        };
        assert_eq!(check_name(name), Err(TopicError::Character(forbidden)));
        assert_eq!(
            TopicFilter::parse(name),
            Err(TopicError::Character(forbidden))
        );
    }
    assert_eq!(check_name("ä+"), Err(TopicError::WildcardInName('+')));
    assert_eq!(check_name("a/+"), Err(TopicError::WildcardInName('+')));
    assert_eq!(check_name("a#"), Err(TopicError::WildcardInName('#')));
    assert_eq!(check_name(&"a".repeat(65_535)), Ok(()));
    let length = 65_536;
    let long = "a".repeat(length);
    assert_eq!(check_name(&long), Err(TopicError::TooLong { length }));
    assert_eq!(
        TopicFilter::parse(&*long),
        Err(TopicError::TooLong { length })
    );
}

#[test]
fn limits_are_checked_exactly() {
    let limits = TopicLimits {
        levels: 3,
        length: 6,
    };
    for text in ["a", "a/b/c", "//", "abcdef", "ä/b/c"] {
        assert_eq!(limits.check(text), Ok(()), "{text}");
    }
    let levels = |levels| Err(TopicError::OverLevels { levels, limit: 3 });
    assert_eq!(limits.check("///"), levels(4));
    assert_eq!(limits.check("a/b//"), levels(4));
    assert_eq!(limits.check("//////"), levels(7));
    let (length, limit) = (7, 6);
    assert_eq!(
        limits.check("äbcdef"),
        Err(TopicError::OverLength { length, limit })
    );
    assert_eq!(
        TopicLimits::default().check(&"/".repeat(TOPIC_LENGTH_MAX)),
        Ok(())
    );
}

#[test]
fn filters_are_checked() {
    for text in [
        "#", "+", "a/#", "+/+/#", "/", "//#", "$SYS/#", "$share", "a/+/b",
    ] {
        assert_eq!(filter(text).as_str(), text);
        assert!(!filter(text).is_shared());
    }
    for (text, error) in [
        ("", TopicError::Empty),
        ("a+", TopicError::WildcardInLevel('+')),
        ("a/b#", TopicError::WildcardInLevel('#')),
        ("##", TopicError::WildcardInLevel('#')),
        ("#/a", TopicError::RestNotLast),
        ("a/#/", TopicError::RestNotLast),
        ("$share/", TopicError::Share),
        ("$share/a", TopicError::Share),
        ("$share/a/", TopicError::Share),
        ("$share//b", TopicError::Share),
        ("$share/+/b", TopicError::Share),
        ("$share/a/b#", TopicError::WildcardInLevel('#')),
    ] {
        assert_eq!(TopicFilter::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_shared_subscription_is_its_inner_filter() {
    let shared = filter("$share/group/a/+");
    assert!(shared.is_shared());
    assert_eq!(shared.share_name(), Some("group"));
    assert_eq!(shared.inner(), "a/+");
    assert!(shared.has_wildcards());
    assert!(shared.matches("a/b"));
    assert!(filter("a/#").covers(&shared));
    assert!(!filter("b/#").covers(&shared));
    assert_eq!(filter("a/b").share_name(), None);
}

#[test]
fn matching_is_as_the_specification_says() {
    for (pattern, topic) in [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/#", "sport"),
        ("#", "sport/a"),
        ("#", "/"),
        ("+", "finance"),
        ("/+", "/finance"),
        ("+/+", "/finance"),
        ("sport/+", "sport/"),
        ("$SYS/#", "$SYS/x"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ("a/+", "a/$x"),
    ] {
        assert!(filter(pattern).matches(topic), "{pattern} {topic}");
    }
    for (pattern, topic) in [
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/x"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("a", "A"),
        ("a", "a/"),
        ("a", ""),
        ("#", ""),
        ("a/b/#", "a"),
    ] {
        assert!(!filter(pattern).matches(topic), "{pattern} {topic}");
    }
}

#[test]
fn a_filter_covers_another_only_if_it_matches_every_topic() {
    for (outer, inner) in [
        ("a/#", "a"),
        ("a/#", "a/#"),
        ("a/+", "a/b"),
        ("a/+", "a/+"),
        ("#", "+/b"),
        ("+/#", "#"),
        ("#", "+/#"),
        ("+/#", "a"),
        ("$SYS/#", "$SYS/+/a"),
    ] {
        assert!(filter(outer).covers(&filter(inner)), "{outer} {inner}");
    }
    for (outer, inner) in [
        ("sensors/temperature/+", "sensors/#"),
        ("#", "$SYS/#"),
        ("#", "$SYS"),
        ("+/a", "$SYS/a"),
        ("+", "+/#"),
        ("+/+/#", "#"),
        ("a/+/#", "a/#"),
        ("a/b", "a/+"),
        ("a/#", "#"),
        ("+", "#"),
    ] {
        assert!(!filter(outer).covers(&filter(inner)), "{outer} {inner}");
    }
}

/// Every topic of up to four levels over a small alphabet. The alphabet includes a text that no
/// filter below uses as a literal, to distinguish wildcards from literals.
fn topics() -> Vec<String> {
    let mut topics: Vec<String> = Vec::new();
    let mut last = vec![String::new()];
    for depth in 0..4 {
        let longer = |stem: &String| {
            ["a", "b", "", "$x"].map(|level| match depth {
                0 => level.to_owned(),
                _ => format!("{stem}/{level}"),
            })
        };
        last = last.iter().flat_map(longer).collect();
        topics.extend(last.iter().filter(|topic| !topic.is_empty()).cloned());
    }
    topics
}

fn filters() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![Just("a"), Just(""), Just("$x"), Just("+")];
    // Filters are one level shorter than topics, so that '#' has an effect.
    (proptest::collection::vec(level, 0..=3), any::<bool>()).prop_filter_map(
        "a filter is not empty",
        |(mut levels, rest)| {
            if rest {
                levels.push("#");
                if levels.len() > 3 {
                    levels.remove(0);
                }
            }
            TopicFilter::parse(levels.join("/")).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn covers_and_overlaps_agree_with_exhaustive_matching(f in filters(), g in filters()) {
        let topics = topics();
        let missed = topics.iter().find(|topic| g.matches(topic) && !f.matches(topic));
        prop_assert_eq!(f.covers(&g), missed.is_none(), "{:?} {:?} {:?}", f, g, missed);
        let both = topics.iter().find(|topic| g.matches(topic) && f.matches(topic));
        prop_assert_eq!(f.overlaps(&g), both.is_some(), "{:?} {:?} {:?}", f, g, both);
        prop_assert_eq!(f.overlaps(&g), g.overlaps(&f));
    }

    #[test]
    fn a_set_allows_what_any_of_its_patterns_allows(
        patterns in proptest::collection::vec(filters(), 0..6),
        asked in filters(),
    ) {
        let set = TopicPatterns::new(&patterns);
        let covered = patterns.iter().any(|pattern| pattern.covers(&asked));
        prop_assert_eq!(set.allows_filter(&asked), covered);
        for topic in topics() {
            let matched = patterns.iter().any(|pattern| pattern.matches(&topic));
            prop_assert_eq!(set.allows_topic(&topic), matched, "{}", topic);
        }
    }

    #[test]
    fn the_entries_of_a_topic_are_those_whose_patterns_match(
        patterns in proptest::collection::vec(filters(), 0..6),
    ) {
        let mut set = TopicPatterns::default();
        for (index, pattern) in patterns.iter().enumerate() {
            set.insert_entry(pattern, index);
        }
        for topic in topics() {
            let mut indexes = set.matching(&topic).to_vec();
            indexes.sort_unstable();
            let patterns = patterns.iter().enumerate();
            let matching = patterns.filter(|(_, pattern)| pattern.matches(&topic));
            let expected: Vec<usize> = matching.map(|(index, _)| index).collect();
            prop_assert_eq!(indexes, expected, "{}", topic);
        }
    }

    #[test]
    fn a_name_is_legal_by_its_length_its_characters_and_its_wildcards(
        text in "[a-c/$ ~+#ä\u{1}\u{7f}\u{85}\u{ffff}]{0,24}",
    ) {
        let legal = !text.is_empty()
            && check_characters(&text).is_ok()
            && !text.contains(['+', '#']);
        prop_assert_eq!(check_name(&text).is_ok(), legal);
        if legal {
            let filter = TopicFilter::parse(&*text);
            prop_assert!(filter.is_ok_and(|filter| !filter.has_wildcards()));
        }
        let levels = text.split('/').count();
        for limit in [levels - 1, levels, levels + 1] {
            let limits = TopicLimits { levels: limit, length: 100 };
            prop_assert_eq!(limits.check(&text).is_ok(), levels <= limit);
        }
    }

    #[test]
    fn no_text_panics(text in "[a+#/$\u{0}ä€]{0,12}|\\$share/\\PC{0,8}|\\PC*") {
        let _ = check_name(&text);
        if let Ok(filter) = TopicFilter::parse(&*text) {
            prop_assert_eq!(filter.as_str(), &text);
            prop_assert!(filter.covers(&filter) && filter.overlaps(&filter));
            let _ = (filter.matches(&text), filter.share_name());
            prop_assert!(TopicPatterns::new([&filter]).allows_filter(&filter));
        }
    }
}

#[test]
fn thousands_of_levels_and_patterns_are_handled() {
    let deep = filter(&"a/".repeat(30_000));
    assert!(filter("a/#").covers(&deep));
    let mut patterns: Vec<_> = (0..10_000).map(|n| filter(&format!("d/{n}/+"))).collect();
    patterns.push(deep.clone());
    let set = TopicPatterns::new(&patterns);
    assert!(set.allows_filter(&deep));
    assert!(set.allows_topic("d/9999/x"));
    assert!(!set.allows_topic("d/10000/x"));
    assert!(!TopicPatterns::default().allows_topic("a"));
}
