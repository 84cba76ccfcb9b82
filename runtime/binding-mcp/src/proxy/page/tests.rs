use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::proxy::listing::Collector;
use crate::proxy::listing::tests::rules;

fn listing(toolkit: &str, names: &[String]) -> Arc<Listing> {
    let tools: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let result = Bytes::from(json!({ "tools": tools }).to_string());
    let mut collector = Collector::new(ListKind::Tools, rules(toolkit));
    collector.add(result.into(), 1 << 20).expect("a page");
    Arc::new(collector.take().listing)
}

/// A toolkit's name and its list, if it is not missing.
type Kit<'a> = (&'a str, Option<Arc<Listing>>);

fn sections<'a>(kits: &'a [Kit<'_>]) -> Vec<Section<'a>> {
    let section = |(upstream, (toolkit, listing)): (usize, &'a Kit<'_>)| Section {
        upstream,
        toolkit,
        listing: listing.as_ref(),
    };
    kits.iter().enumerate().map(section).collect()
}

/// The names on a page, and the cursor of the next.
fn read(
    kits: &[Kit<'_>],
    from: Option<&str>,
    size: usize,
    offers: Option<&Offers<'_>>,
) -> Result<(Vec<String>, Option<String>), Stale> {
    let from = from.map(|text| Cursor::decode(text, ListKind::Tools).expect("a cursor"));
    let page = page(ListKind::Tools, &sections(kits), from, size, offers)?;
    let page: Value = serde_json::from_slice(&page.contiguous()).expect("JSON");
    let tools = page["tools"].as_array().expect("tools").iter();
    let names = tools.map(|tool| tool["name"].as_str().expect("a name").to_owned());
    Ok((
        names.collect(),
        page["nextCursor"].as_str().map(str::to_owned),
    ))
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

proptest! {
    // The pages of a list have each offered element once, in order, whatever their size.
    #[test]
    fn pages_have_each_offered_element_once(
        counts in proptest::collection::vec(0_usize..12, 1..5),
        size in 1_usize..8,
        hidden in 0_usize..4,
    ) {
        let labels = ["a", "b", "c", "d"];
        let kits: Vec<Kit<'_>> = labels.into_iter().zip(&counts)
            .map(|(label, count)| (label, Some(listing(label, &names(*count)))))
            .collect();
        let number = |name: &str| name.trim_start_matches('t').parse::<usize>().expect("a number");
        let offered = move |name: &str| hidden == 0 || number(name) % 4 >= hidden;
        let offers = move |element: Element<'_>| offered(element.key);
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (names, next) = read(&kits, cursor.as_deref(), size, Some(&offers)).expect("fresh");
            prop_assert!(names.len() == size || next.is_none());
            prop_assert!(next.is_none() || !names.is_empty());
            all.extend(names);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<String> = labels.into_iter().zip(&counts).flat_map(|(label, count)| {
            let offered = names(*count).into_iter().filter(|name| offered(name));
            offered.map(move |name| format!("{label}__{name}")).collect::<Vec<_>>()
        }).collect();
        prop_assert_eq!(all, expected);
    }
}

#[test]
fn a_cursor_finds_its_element_in_a_changed_list_or_is_stale() {
    let kit = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        [("a", Some(listing("a", &names)))]
    };
    let (_, next) = read(&kit(&["x", "y", "z"]), None, 1, None).expect("a page");
    let rest = |names: &[&str]| read(&kit(names), next.as_deref(), 9, None).map(|page| page.0);
    assert_eq!(
        rest(&["new", "x", "y", "z"]),
        Ok(vec!["a__y".into(), "a__z".into()])
    );
    assert_eq!(rest(&["x", "z"]), Err(Stale));
    let renamed = [("other", Some(listing("other", &["y".to_owned()])))];
    assert_eq!(read(&renamed, next.as_deref(), 9, None), Err(Stale));
}

#[test]
fn a_page_of_a_missing_toolkit_begins_behind_it() {
    let whole = [
        ("a", Some(listing("a", &names(2)))),
        ("b", Some(listing("b", &names(1)))),
    ];
    let (_, next) = read(&whole, None, 1, None).expect("a page");
    let dead = [("a", None), ("b", Some(listing("b", &names(1))))];
    let (rest, more) = read(&dead, next.as_deref(), 1, None).expect("a page");
    assert_eq!((rest, more), (vec!["b__t0".to_owned()], None));
}

#[test]
fn a_whole_list_is_one_slice_for_each_toolkit() {
    let kits = [("a", Some(listing("a", &names(100))))];
    let page = page(ListKind::Tools, &sections(&kits), None, 1_000, None).expect("a page");
    assert_eq!(page.count(), 3);
}
