//! How much work a stranger's schema can cause, found before it is ever run. Pure.
//!
//! A few hundred bytes of nested references can make a validator work for years or exhaust its
//! stack. Keywords that apply to the same value (`allOf`, `$ref` …) multiply; those that descend
//! (`properties`, `items` …) multiply with the depth of the arguments. From this graph follow
//! the evaluations that one value may suffer at each depth, an upper bound on purpose. A schema
//! that has no bound is refused; arguments that would exceed it are.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use serde_json::Value;

use super::refs::Refs;
use crate::domain::limits;

/// What one schema may cost.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    /// Evaluations of one value, by how deep the arguments are nested; the last entry holds for
    /// all deeper ones if the schema does not refer back to itself.
    by_depth: Vec<u64>,
    bounded: bool,
    /// Longest chain of schemas applied to one and the same value.
    height: usize,
}

/// Size of a call's arguments, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) values: u64,
    pub(super) depth: usize,
    /// Some number in it is no integer of 64 bits.
    pub(super) has_doubles: bool,
}

impl Cost {
    pub(super) fn of(schema: &Value) -> Result<Self, &'static str> {
        let refs = Refs::of(schema);
        let mut graph = Graph { refs, ids: HashMap::new(), done: Vec::new(), spent: 0 };
        let root = graph.id(schema);
        let mut next = 0;
        while let Some(node) = graph.done.get(next).map(|(value, _)| *value) {
            let reach = graph.reach(node, 0)?;
            graph.spend(reach.edges())?;
            for child in reach.targets() {
                graph.id(child);
            }
            next = next.saturating_add(1);
        }
        Ok(graph.levels(root))
    }

    /// Whether checking arguments of this extent stays within bounds.
    pub(super) fn allows(&self, arguments: Extent) -> bool {
        let levels = arguments.depth.saturating_add(1);
        if self.height.saturating_add(1).saturating_mul(levels) > limits::SCHEMA_STACK_MAX {
            return false;
        }
        let known = self.by_depth.get(arguments.depth);
        let Some(&each) = known.or(self.by_depth.last().filter(|_| self.bounded)) else {
            return false;
        };
        // Work in proportion to the arguments is what the caller asked for.
        each <= limits::SCHEMA_WORK_PER_VALUE_MAX
            || each.saturating_mul(arguments.values) <= limits::SCHEMA_WORK_MAX
    }
}

impl Extent {
    pub(super) fn of(value: &Value) -> Self {
        let children: &mut dyn Iterator<Item = &Value> = match value {
            Value::Array(items) => &mut items.iter(),
            Value::Object(members) => &mut members.values(),
            Value::Number(number) => {
                return Self { values: 1, depth: 0, has_doubles: number.is_f64() };
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {
                return Self { values: 1, ..Self::default() };
            }
        };
        let alone = Self { values: 1, depth: 1, has_doubles: false };
        children.map(Self::of).fold(alone, |all, child| Self {
            values: all.values.saturating_add(child.values),
            depth: all.depth.max(child.depth.saturating_add(1)),
            has_doubles: all.has_doubles || child.has_doubles,
        })
    }
}

/// Schemas and how often each is applied.
type Bag<'s> = HashMap<*const Value, (&'s Value, u64)>;

/// What one schema does to one value: evaluations in place, and schemas for the value's children.
#[derive(Debug, Default)]
struct Reach<'s> {
    work: u64,
    height: usize,
    named: BTreeMap<&'s str, Bag<'s>>,
    any_member: Bag<'s>,
    items: Bag<'s>,
}

impl<'s> Reach<'s> {
    fn bags(&self) -> impl Iterator<Item = &Bag<'s>> {
        self.named.values().chain([&self.any_member, &self.items])
    }

    fn edges(&self) -> usize {
        self.bags().map(Bag::len).sum()
    }

    fn targets(&self) -> impl Iterator<Item = &'s Value> {
        self.bags().flat_map(|bag| bag.values().map(|(value, _)| *value))
    }

    /// Takes in what a schema on the same value does, `times` over.
    fn absorb(&mut self, other: &Self, times: u64) {
        self.work = self.work.saturating_add(other.work.saturating_mul(times));
        self.height = self.height.max(other.height.saturating_add(1));
        for (name, bag) in &other.named {
            pour(bag, times, self.named.entry(name).or_default());
        }
        pour(&other.any_member, times, &mut self.any_member);
        pour(&other.items, times, &mut self.items);
    }
}

fn pour<'s>(from: &Bag<'s>, times: u64, to: &mut Bag<'s>) {
    for (value, n) in from.values() {
        let slot = &mut to.entry(std::ptr::from_ref(*value)).or_insert((value, 0)).1;
        *slot = slot.saturating_add(n.saturating_mul(times));
    }
}

#[derive(Debug)]
enum Progress<'s> {
    Unseen,
    Open,
    Done(Rc<Reach<'s>>),
}

struct Graph<'s> {
    refs: Refs<'s>,
    ids: HashMap<*const Value, usize>,
    done: Vec<(&'s Value, Progress<'s>)>,
    /// Edges looked at so far: judging must not become the attack.
    spent: usize,
}

impl<'s> Graph<'s> {
    fn id(&mut self, schema: &'s Value) -> usize {
        *self.ids.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
            self.done.push((schema, Progress::Unseen));
            self.done.len().saturating_sub(1)
        })
    }

    fn reach(&mut self, schema: &'s Value, height: usize) -> Result<Rc<Reach<'s>>, &'static str> {
        if height > limits::SCHEMA_HEIGHT_MAX {
            return Err("applies too many schemas to one value");
        }
        let id = self.id(schema);
        match self.done.get(id) {
            Some((_, Progress::Done(reach))) => return Ok(reach.clone()),
            Some((_, Progress::Open)) => return Err("refers to itself without descending"),
            Some((_, Progress::Unseen)) | None => {}
        }
        self.set(id, Progress::Open);
        let mut reach = Reach { work: 1, ..Reach::default() };
        if let Value::Object(keywords) = schema {
            // To find what is unevaluated, the schemas beside it are run once more, and again.
            let again = keywords.keys().any(|k| k.starts_with("unevaluated"));
            let times = if again { 3 } else { 1 };
            for (keyword, value) in keywords {
                reach.descend(keyword, value);
                for beside in self.in_place(keyword, value)? {
                    let other = self.reach(beside, height.saturating_add(1))?;
                    self.spend(other.edges())?;
                    reach.absorb(&other, times);
                }
            }
        }
        let reach = Rc::new(reach);
        self.set(id, Progress::Done(reach.clone()));
        Ok(reach)
    }

    fn spend(&mut self, edges: usize) -> Result<(), &'static str> {
        self.spent = self.spent.saturating_add(edges).saturating_add(1);
        let within = self.spent <= limits::SCHEMA_EDGES_MAX;
        within.then_some(()).ok_or("is too large to be judged")
    }

    fn set(&mut self, id: usize, progress: Progress<'s>) {
        if let Some(slot) = self.done.get_mut(id) {
            slot.1 = progress;
        }
    }

    /// Schemas that a keyword applies to the same value.
    fn in_place(&self, keyword: &str, value: &'s Value) -> Result<Vec<&'s Value>, &'static str> {
        match keyword {
            "$ref" | "$dynamicRef" | "$recursiveRef" => self.refs.resolve(value),
            "not" | "if" | "then" | "else" => Ok(vec![value]),
            "allOf" | "anyOf" | "oneOf" => Ok(value.as_array().into_iter().flatten().collect()),
            "dependentSchemas" | "dependencies" => {
                Ok(value.as_object().into_iter().flat_map(|map| map.values()).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Evaluations of one value at each depth, until nothing grows any more.
    fn levels(&self, root: usize) -> Cost {
        let reaches: Vec<&Reach<'s>> = self
            .done
            .iter()
            .filter_map(|(_, p)| if let Progress::Done(reach) = p { Some(&**reach) } else { None })
            .collect();
        let height = reaches.iter().map(|r| r.height).max().unwrap_or_default();
        let mut level: Vec<u64> = reaches.iter().map(|r| r.work).collect();
        let mut cost = Cost { by_depth: Vec::new(), bounded: false, height };
        for _ in 0..=limits::JSON_DEPTH_MAX {
            cost.by_depth.push(level.get(root).copied().unwrap_or(u64::MAX));
            let sum = |bag: &Bag<'s>| self.sum(bag, &level);
            let deeper = |reach: &&Reach<'s>| {
                let named = reach.named.values().map(sum).max().unwrap_or_default();
                let member = named.saturating_add(sum(&reach.any_member));
                reach.work.saturating_add(member.max(sum(&reach.items)))
            };
            let next: Vec<u64> = reaches.iter().map(deeper).collect();
            if next == level {
                cost.bounded = true;
                break;
            }
            level = next;
        }
        cost
    }

    fn sum(&self, bag: &Bag<'s>, level: &[u64]) -> u64 {
        bag.iter().fold(0, |sum: u64, (value, (_, times))| {
            let each = self.ids.get(value).and_then(|id| level.get(*id)).copied();
            sum.saturating_add(each.unwrap_or(u64::MAX).saturating_mul(*times))
        })
    }
}

impl<'s> Reach<'s> {
    /// Notes the schemas that a keyword applies to the value's children, and lists to compare.
    fn descend(&mut self, keyword: &str, value: &'s Value) {
        let one = |bag: &mut Bag<'s>, schema: &'s Value| {
            let slot = &mut bag.entry(std::ptr::from_ref(schema)).or_insert((schema, 0)).1;
            *slot = slot.saturating_add(1);
        };
        match (keyword, value) {
            ("properties", Value::Object(map)) => {
                map.iter().for_each(|(name, s)| one(self.named.entry(name).or_default(), s));
            }
            ("patternProperties", Value::Object(map)) => {
                map.values().for_each(|s| one(&mut self.any_member, s));
            }
            ("additionalProperties" | "unevaluatedProperties" | "propertyNames", schema) => {
                one(&mut self.any_member, schema);
            }
            ("prefixItems" | "items", Value::Array(list)) => {
                list.iter().for_each(|s| one(&mut self.items, s));
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema) => {
                one(&mut self.items, schema);
            }
            ("enum" | "required", Value::Array(list)) => {
                let entries = u64::try_from(list.len()).unwrap_or(u64::MAX);
                self.work = self.work.saturating_add(entries / COMPARISONS_PER_EVALUATION);
            }
            _ => {}
        }
    }
}

/// A comparison with one entry of a list is much cheaper than a schema.
const COMPARISONS_PER_EVALUATION: u64 = 8;
