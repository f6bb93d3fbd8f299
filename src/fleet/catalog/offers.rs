//! Under which URI each resource and each template is listed. Pure.
//!
//! As it is at the first server that has it, with the prefix of its server at every later one; and
//! with a prefix too if it begins like one. The operator is told, in one sentence for each reason,
//! however many there are.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{
    Clashes,
    listing::Listing,
    prefix::{prefixed, split},
    shelf::Readable,
};
use crate::{
    domain::{ResourceUri, ServerName},
    wire::{List, Object, quote},
};

/// What all servers have of one list.
pub(super) struct Offers<'a, T> {
    /// In the order of the servers.
    pub(super) all: Vec<(&'a ServerName, &'a Readable<T>)>,
    pub(super) listing: Listing,
}

/// Why a URI does not stand in the list as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clash<'a> {
    Owned(&'a ServerName),
    LooksPrefixed,
    /// For the prefix that it needs.
    TooLong,
}

pub(super) fn offered<'a, T>(
    list: List,
    shelves: impl Iterator<Item = (&'a ServerName, &'a [Readable<T>])>,
    visible: impl Fn(&ServerName, &ResourceUri) -> bool,
    clashes: &mut Clashes,
) -> Offers<'a, T> {
    let mut owners: HashMap<&ResourceUri, &ServerName> = HashMap::new();
    let (mut all, mut listed) = (Vec::new(), BTreeMap::new());
    for (server, readables) in shelves {
        let mut found: BTreeMap<Clash<'_>, (usize, ResourceUri)> = BTreeMap::new();
        for one in readables.iter().filter(|one| visible(server, &one.uri)) {
            all.push((server, one));
            let looks_prefixed = split(one.uri.as_str()).is_some();
            let owner = *owners.entry(&one.uri).or_insert(server);
            let clash = match looks_prefixed {
                true => Clash::LooksPrefixed,
                false if owner != server => Clash::Owned(owner),
                false => {
                    listed.insert(one.uri.clone(), one.definition.clone());
                    continue;
                }
            };
            let (clash, shown) = match prefixed(server, &one.uri) {
                Ok(uri) => {
                    listed.extend(defined_as(list, one, &uri).map(|text| (uri.clone(), text)));
                    (clash, uri)
                }
                Err(_) => (Clash::TooLong, one.uri.clone()),
            };
            found.entry(clash).or_insert((0, shown)).0 += 1;
        }
        for (clash, (n, example)) in found {
            let sentence = clash.tell(list, n, &example);
            clashes.entry(server.clone()).or_default().push(sentence);
        }
    }
    Offers { all, listing: Listing::of(&listed) }
}

impl Clash<'_> {
    fn tell(self, list: List, n: usize, example: &ResourceUri) -> String {
        let why = match self {
            Self::Owned(owner) => format!("have a prefix, because server `{owner}` has them too"),
            Self::LooksPrefixed => "have a prefix, because they begin like one".to_owned(),
            Self::TooLong => "are not offered: they are too long for a prefix".to_owned(),
        };
        format!("{n} of its {} {why}; such as `{example}`", list.member())
    }
}

/// The definition under another URI; all else is the server's own bytes.
fn defined_as<T>(list: List, one: &Readable<T>, uri: &ResourceUri) -> Option<Bytes> {
    let definition = Object::parse(one.definition.clone()).ok()?;
    Some(definition.edit().set(list.key(), quote(uri.as_str())).finish().into_bytes())
}
