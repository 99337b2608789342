//! Which sources of a group are wanted, merged and compared (RFC 3376 §3, RFC 3810 §4).

use std::collections::BTreeSet;
use std::net::IpAddr;

use libnet::socket::FilterMode;

/// Which sources of a group are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    pub(crate) mode: FilterMode,
    pub(crate) sources: BTreeSet<IpAddr>,
}

impl Filter {
    /// No source: who has this is no member.
    pub(crate) const NONE: Filter = Filter { mode: FilterMode::Include, sources: BTreeSet::new() };
    /// Every source.
    pub(crate) const ALL: Filter = Filter { mode: FilterMode::Exclude, sources: BTreeSet::new() };

    /// These sources alone.
    pub(crate) fn include(sources: impl IntoIterator<Item = IpAddr>) -> Self {
        Filter { mode: FilterMode::Include, sources: sources.into_iter().collect() }
    }

    /// All but these.
    pub(crate) fn exclude(sources: impl IntoIterator<Item = IpAddr>) -> Self {
        Filter { mode: FilterMode::Exclude, sources: sources.into_iter().collect() }
    }

    /// Is no source wanted?
    pub(crate) fn is_none(&self) -> bool {
        self.mode == FilterMode::Include && self.sources.is_empty()
    }

    /// Is what this source sends wanted?
    pub(crate) fn accepts(&self, source: IpAddr) -> bool {
        (self.mode == FilterMode::Include) == self.sources.contains(&source)
    }

    /// What an interface must receive for all of its sockets to get what they want.
    ///
    /// Source: RFC 3376 §3.2. If any excludes, the excluded sources are those that all who exclude
    /// exclude, without those that somebody includes; else those that anybody includes are.
    pub(crate) fn merge<'a>(all: impl Iterator<Item = &'a Filter> + Clone) -> Filter {
        let included = all.clone().filter(|filter| filter.mode == FilterMode::Include);
        let included = included.flat_map(|filter| filter.sources.iter().copied());
        let included: BTreeSet<IpAddr> = included.collect();
        let mut excluding = all.filter(|filter| filter.mode == FilterMode::Exclude);
        let Some(first) = excluding.next() else { return Filter::include(included) };
        let mut excluded = first.sources.clone();
        for filter in excluding {
            excluded.retain(|source| filter.sources.contains(source));
        }
        excluded.retain(|source| !included.contains(source));
        Filter::exclude(excluded)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn source(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    fn filters() -> impl Strategy<Value = Vec<Filter>> {
        let sources = proptest::collection::btree_set(0u8..6, 0..5);
        let filter = (any::<bool>(), sources).prop_map(|(include, sources)| {
            let sources = sources.into_iter().map(source);
            if include { Filter::include(sources) } else { Filter::exclude(sources) }
        });
        proptest::collection::vec(filter, 0..5)
    }

    #[test]
    fn the_examples_of_rfc_3376_are_merged_as_it_says() {
        let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6].map(source);
        // §3.2, the first two examples.
        let excluding = [Filter::exclude([a, b, c, d]), Filter::exclude([b, c, d, e])];
        assert_eq!(Filter::merge(excluding.iter()), Filter::exclude([b, c, d]));
        let mixed = [excluding[0].clone(), excluding[1].clone(), Filter::include([d, e, f])];
        assert_eq!(Filter::merge(mixed.iter()), Filter::exclude([b, c]));
        let including = [Filter::include([a, b, c]), Filter::include([b, c, d])];
        assert_eq!(Filter::merge(including.iter()), Filter::include([a, b, c, d]));
        assert_eq!(Filter::merge([].iter()), Filter::NONE);
    }

    proptest! {
        #[test]
        fn the_merged_filter_takes_what_any_of_them_takes(all in filters()) {
            let merged = Filter::merge(all.iter());
            for n in 0..8 {
                let anybody = all.iter().any(|filter| filter.accepts(source(n)));
                prop_assert_eq!(merged.accepts(source(n)), anybody, "source {}", n);
            }
        }
    }
}
