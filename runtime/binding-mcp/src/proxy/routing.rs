//! Which route an operation takes, for a caller.
//!
//! The routes are an allow list: an operation takes the first route that leads to its subject and that
//! the caller may use. A later route is never hidden by one that the caller may not use, so a guarded
//! route does not protect what another one opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_engine::BindingId;
use tidegate_options::{Guarded, RouteRule};
use tidegate_streams::Identity;

use super::condition::{Condition, Toolkit};
use super::names::{Kind, Prefixes};

/// A route of the config, to an exit of type `X`.
#[derive(Debug, Clone)]
pub struct Route<X = BindingId> {
    /// When it applies, and to whom.
    pub rule: RouteRule<Condition>,
    /// The binding that serves the toolkit.
    pub exit: X,
}

impl Route {
    /// The route of everybody to a toolkit, or to all that the exit has.
    pub fn of(toolkit: Option<Toolkit>, exit: BindingId) -> Self {
        let rule = RouteRule {
            when: toolkit.map(Condition::of).into_iter().collect(),
            guarded: None,
        };
        Self { rule, exit }
    }
}

/// A toolkit at an exit. Several routes may lead to it.
#[derive(Debug)]
pub(super) struct Upstream<X = BindingId> {
    pub(super) exit: X,
    /// Empty: names and URIs have no prefix.
    pub(super) toolkit: ByteString,
    pub(super) prefixes: Prefixes,
}

/// One condition of a route.
#[derive(Debug)]
struct Way {
    /// Index of the route in the config.
    route: usize,
    upstream: usize,
    /// `None`: the route has no conditions.
    condition: Option<Condition>,
    guarded: Option<Arc<Guarded>>,
}

/// The routes of a proxy.
#[derive(Debug)]
pub(super) struct Routing<X = BindingId> {
    upstreams: Vec<Upstream<X>>,
    ways: Vec<Way>,
    /// Whether what a list contains may depend on the caller.
    guarded: bool,
    /// Whether every caller gets all of every toolkit.
    open: bool,
}

/// Where an operation goes.
#[derive(Debug, PartialEq)]
pub(super) enum Decision<'a> {
    /// To this toolkit, by this route.
    Permitted { upstream: usize, route: usize },
    /// The caller may ask for these scopes, which would permit it.
    StepUp { scopes: &'a [String], route: usize },
    /// As if it did not exist. The route is one that other callers may use.
    Unknown { refusing: Option<usize> },
}

impl Way {
    fn permits(&self, caller: Option<&Identity>) -> bool {
        let guarded = self.guarded.as_deref();
        guarded.is_none_or(|guarded| guarded.permits(caller))
    }

    /// Whether it leads to any subject of a kind.
    fn leads_to(&self, kind: Kind) -> bool {
        let condition = self.condition.as_ref();
        condition.is_none_or(|it| it.is_whole() || kind.glob(it).is_some())
    }

    /// Whether it leads to a subject, by its name without the toolkit.
    fn matches(&self, kind: Kind, name: &str) -> bool {
        self.condition.as_ref().is_none_or(|condition| {
            condition.is_whole() || kind.glob(condition).is_some_and(|glob| glob.matches(name))
        })
    }

    fn is_whole(&self) -> bool {
        self.condition.as_ref().is_none_or(Condition::is_whole)
    }
}

impl<X: Copy + PartialEq> Routing<X> {
    pub(super) fn new(routes: Vec<Route<X>>) -> Self {
        let mut routing = Self {
            upstreams: Vec::new(),
            ways: Vec::new(),
            guarded: false,
            open: true,
        };
        for (index, Route { rule, exit }) in routes.into_iter().enumerate() {
            let guarded = rule.guarded.map(Arc::new);
            routing.guarded |= guarded.is_some();
            let mut add = |condition: Option<Condition>| {
                let toolkit = condition.as_ref().and_then(|it| it.toolkit.as_ref());
                let toolkit = toolkit.map_or_else(ByteString::new, |it| it.name().clone());
                let way = Way {
                    route: index,
                    upstream: routing.upstream(toolkit, exit),
                    condition,
                    guarded: guarded.clone(),
                };
                routing.open &= way.guarded.is_none() && way.is_whole();
                routing.ways.push(way);
            };
            if rule.when.is_empty() {
                add(None);
            }
            rule.when.into_iter().for_each(|it| add(Some(it)));
        }
        routing
    }

    /// The index of a toolkit at an exit, which is added if it is new.
    fn upstream(&mut self, toolkit: ByteString, exit: X) -> usize {
        let same = |it: &Upstream<X>| it.toolkit == toolkit && it.exit == exit;
        if let Some(index) = self.upstreams.iter().position(same) {
            return index;
        }
        self.upstreams.push(Upstream {
            exit,
            prefixes: Prefixes::of(&toolkit),
            toolkit,
        });
        self.upstreams.len() - 1
    }

    /// Number of toolkits.
    pub(super) const fn len(&self) -> usize {
        self.upstreams.len()
    }

    pub(super) fn get(&self, upstream: usize) -> Option<&Upstream<X>> {
        self.upstreams.get(upstream)
    }

    /// Sums of `counts`, which has a number for each toolkit at an exit, by the name of the toolkit.
    pub(super) fn by_name(&self, counts: &[u64]) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for (upstream, count) in self.upstreams.iter().zip(counts) {
            if !upstream.toolkit.is_empty() {
                *sums.entry(&*upstream.toolkit).or_default() += count;
            }
        }
        sums
    }

    /// Whether what a list contains may depend on the caller.
    pub(super) const fn depends_on_caller(&self) -> bool {
        self.guarded
    }

    /// Whether every caller gets all of every toolkit.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// The exit that gets every operation of the caller unchanged, if there is one, and its route.
    pub(super) fn transparent(&self, caller: Option<&Identity>) -> Option<(X, usize)> {
        let way = self.ways.iter().find(|way| way.permits(caller))?;
        let upstream = self.get(way.upstream)?;
        let whole = way.is_whole() && upstream.toolkit.is_empty();
        whole.then_some((upstream.exit, way.route))
    }

    /// Whom a route permits; `None`: everybody.
    pub(super) fn guarded(&self, route: usize) -> Option<Arc<Guarded>> {
        let way = self.ways.iter().find(|way| way.route == route)?;
        way.guarded.clone()
    }

    /// Where an operation on one subject goes; `key` is its name or URI as the caller states it.
    pub(super) fn decide(&self, caller: Option<&Identity>, kind: Kind, key: &str) -> Decision<'_> {
        let mut refusing = None;
        let mut step_up: Option<(&[String], usize)> = None;
        for way in &self.ways {
            let upstream = self.get(way.upstream);
            let prefix = upstream.map(|it| kind.prefix(&it.prefixes));
            let name = prefix.and_then(|prefix| key.strip_prefix(&**prefix));
            if !name.is_some_and(|name| way.matches(kind, name)) {
                continue;
            }
            if way.permits(caller) {
                return Decision::Permitted {
                    upstream: way.upstream,
                    route: way.route,
                };
            }
            refusing.get_or_insert(way.route);
            let scopes = way.guarded.as_deref().zip(caller);
            if let Some(scopes) = scopes.and_then(|(guarded, caller)| guarded.step_up(caller))
                && step_up.is_none_or(|(fewest, _)| scopes.len() < fewest.len())
            {
                step_up = Some((scopes, way.route));
            }
        }
        match step_up {
            Some((scopes, route)) => Decision::StepUp { scopes, route },
            None => Decision::Unknown { refusing },
        }
    }

    /// Whether an element of a toolkit's list is offered: a call to it would go to that toolkit.
    pub(super) fn offers(
        &self,
        caller: Option<&Identity>,
        upstream: usize,
        kind: Kind,
        name: &str,
    ) -> bool {
        let Some(toolkit) = self.get(upstream).map(|it| &it.toolkit) else {
            return false;
        };
        // Toolkits of the same name have the same prefix, and no others.
        let same = |way: &&Way| {
            let to = self.get(way.upstream);
            to.is_some_and(|to| to.toolkit == *toolkit)
        };
        let mut ways = self.ways.iter().filter(same);
        let taken = ways.find(|way| way.matches(kind, name) && way.permits(caller));
        taken.is_some_and(|way| way.upstream == upstream)
    }

    /// Whether another exit has a toolkit of the same name.
    pub(super) fn shares_name(&self, upstream: usize) -> bool {
        let own = self.get(upstream).map(|it| &it.toolkit);
        let same = self.upstreams.iter().filter(|it| Some(&it.toolkit) == own);
        same.count() > 1
    }

    /// Whether nobody can use a toolkit's subject, because an earlier route that is for everybody leads
    /// to another exit under the same name.
    pub(super) fn hides(&self, upstream: usize, kind: Kind, name: &str) -> bool {
        let own = self.get(upstream).map(|it| &it.toolkit);
        let ways = self.ways.iter().filter(|way| {
            let to = self.get(way.upstream).map(|it| &it.toolkit);
            to == own && way.matches(kind, name)
        });
        for way in ways {
            if way.upstream == upstream {
                return false;
            }
            if way.guarded.is_none() {
                return true;
            }
        }
        false
    }

    /// How a toolkit is named to people.
    pub(super) fn label(&self, upstream: usize) -> &str {
        match self.get(upstream).map(|it| &*it.toolkit) {
            None | Some("") => "exit",
            Some(toolkit) => toolkit,
        }
    }

    /// The toolkits that have a part in a list of a kind (or, without one, in a session) of the caller, in the
    /// order of the routes.
    pub(super) fn reachable(
        &self,
        caller: Option<&Identity>,
        kind: Option<Kind>,
    ) -> SmallVec<[usize; 8]> {
        let mut reachable: SmallVec<[usize; 8]> = SmallVec::new();
        // Toolkits that an earlier route gives to the caller as a whole.
        let mut taken: SmallVec<[&ByteString; 8]> = SmallVec::new();
        for way in &self.ways {
            let Some(upstream) = self.get(way.upstream) else {
                continue;
            };
            if !way.permits(caller)
                || !kind.is_none_or(|kind| way.leads_to(kind))
                || taken.contains(&&upstream.toolkit)
            {
                continue;
            }
            if way.is_whole() {
                taken.push(&upstream.toolkit);
            }
            if !reachable.contains(&way.upstream) {
                reachable.push(way.upstream);
            }
        }
        reachable
    }

    /// The names of the toolkits that the caller can reach.
    pub(super) fn toolkits(&self, caller: Option<&Identity>) -> Vec<&str> {
        let reachable = self.reachable(caller, None).into_iter();
        let names = reachable.filter_map(|index| self.get(index).map(|it| &*it.toolkit));
        let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests;
