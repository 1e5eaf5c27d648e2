//! Reads one table of the file, key by key, and notes everything that is wrong with it.
//!
//! A [`Reader`] is asked for each key the program knows: `table.read("ttl", duration)`. It answers with the value, or
//! with nothing if the key is absent or its value is no good, in which case the problem has been noted with its place.
//! Because it remembers what it was asked for, it knows which keys nobody wanted; it reports those when it is dropped,
//! so that no table can be read without that check. Hence: ask for every key before deciding anything.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Notes, Place, Wrong};
use super::reference;
use super::similar::most_similar;

type Value<'a> = Spanned<DeValue<'a>>;

/// A table being read, or the absence of one, which reads like an empty table.
pub(super) struct Reader<'a> {
    notes: &'a Notes,
    table: Option<&'a DeTable<'a>>,
    /// `route[2]`, for messages; empty at the top.
    path: String,
    place: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'a> Reader<'a> {
    /// Reads the whole document.
    pub(super) fn of(document: &'a Spanned<DeTable<'a>>, notes: &'a Notes) -> Self {
        Self::new(notes, Some(document.get_ref()), String::new(), 0..0)
    }

    fn new(notes: &'a Notes, table: Option<&'a DeTable<'a>>, path: String, place: Range<usize>) -> Self {
        Self { notes, table, path, place, asked: RefCell::default(), finished: Cell::new(false) }
    }

    /// The value of `key` in the given form; `None` if it is absent or wrong.
    pub(super) fn read<T>(&self, key: &'static str, form: impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> Option<T> {
        self.convert(self.value(key)?, key, &form)
    }

    /// The value of `key` in the given form, else `otherwise`.
    pub(super) fn take<T>(
        &self,
        key: &'static str,
        form: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
        otherwise: T,
    ) -> T {
        self.read(key, form).unwrap_or(otherwise)
    }

    /// A list of values of the given form; one value without brackets counts as a list of one. Wrong elements are
    /// noted one by one and left out.
    pub(super) fn list<T>(&self, key: &'static str, form: impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let elements = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().collect(),
            _ => vec![value],
        };
        Some(elements.into_iter().filter_map(|element| self.convert(element, key, &form)).collect())
    }

    /// The pairs of the table at `key`, in the order of the file; for tables whose keys are the operator's own.
    pub(super) fn pairs<K, T>(
        &self,
        key: &'static str,
        name: impl Fn(&str) -> Result<K, Wrong>,
        form: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<(K, T)>> {
        let value = self.value(key)?;
        let Some(table) = self.as_table(value, key) else { return Some(Vec::new()) };
        let read = |(written, place, value): Pair<'a>| {
            let full = format!("{key}.{written}");
            let name = self.accept(name(written), place, &full);
            let value = self.convert(value, &full, &form);
            Some((name?, value?))
        };
        Some(in_order(table).into_iter().filter_map(read).collect())
    }

    /// The table at `key`.
    pub(super) fn table(&self, key: &'static str) -> Reader<'a> {
        let path = self.name(key);
        let Some(value) = self.value(key) else { return Self::new(self.notes, None, path, self.place.clone()) };
        Self::new(self.notes, self.as_table(value, key), path, value.span())
    }

    /// The tables of the list at `key`, such as every `[[route]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Reader<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(elements) = value.get_ref() else {
            self.complain(key, Wrong::new(format!("`{key}` must be written [[{key}]], once for each")));
            return Vec::new();
        };
        let read = |(index, element): (usize, &'a Value<'a>)| {
            let path = format!("{key}[{}]", index + 1);
            let table = self.as_table(element, &path)?;
            Some(Self::new(self.notes, Some(table), self.name(&path), element.span()))
        };
        elements.iter().enumerate().filter_map(read).collect()
    }

    /// The tables inside the table at `key`, with their names, such as every `[origins.NAME]`, in the order of the file.
    pub(super) fn named_tables(&self, key: &'static str) -> Vec<(String, Reader<'a>)> {
        let Some(table) = self.value(key).and_then(|value| self.as_table(value, key)) else { return Vec::new() };
        let read = |(name, _, value): Pair<'a>| {
            let path = format!("{key}.{name}");
            let table = self.as_table(value, &path)?;
            Some((name.to_owned(), Self::new(self.notes, Some(table), self.name(&path), value.span())))
        };
        in_order(table).into_iter().filter_map(read).collect()
    }

    /// Whether the value at `key` is a table, for keys that accept a short and a long form.
    pub(super) fn is_table(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether the file says anything at `key`, which may be dotted: `rewrite.replace`. This does not count as asking.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the table itself is in the file.
    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Notes an error at the value of `key`; at the table's head if the key is absent.
    pub(super) fn complain(&self, key: &str, wrong: Wrong) {
        self.notes.error(self.place_of(key), self.name(key), wrong);
    }

    /// Notes a warning at the value of `key`.
    pub(super) fn warn(&self, key: &str, wrong: Wrong) {
        self.notes.warning(self.place_of(key), self.name(key), wrong);
    }

    /// Reports the keys that nobody asked for, once. Happens by itself when the reader is dropped.
    pub(super) fn finish(&self) {
        if self.finished.replace(true) {
            return;
        }
        let asked = self.asked.borrow();
        #[cfg(test)]
        tests::KNOWN.with_borrow_mut(|known| known.extend(asked.iter().map(|key| self.name(key))));
        for (name, place, _) in self.table.into_iter().flat_map(in_order) {
            if !asked.contains(&name) {
                let wrong = Wrong::new(format!("unknown key `{name}`")).maybe(meant(name, &asked));
                self.notes.error(Place::Span(place), self.name(name), wrong);
            }
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Value<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table?.get(key)
    }

    fn convert<T>(&self, value: &Value<'_>, key: &str, form: &impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> Option<T> {
        self.accept(form(value.get_ref()), value.span(), key)
    }

    fn accept<T>(&self, outcome: Result<T, Wrong>, place: Range<usize>, key: &str) -> Option<T> {
        outcome.map_err(|wrong| self.notes.error(Place::Span(place), self.name(key), wrong)).ok()
    }

    fn as_table(&self, value: &'a Value<'a>, key: &str) -> Option<&'a DeTable<'a>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let kind = value.get_ref().type_str();
            let wrong = Wrong::new(format!("`{key}` must be a table, not a value of type {kind}"));
            self.notes.error(Place::Span(value.span()), self.name(key), wrong);
        }
        table
    }

    /// The value at `key`; where the key goes deeper than the file, the last value on the way.
    fn place_of(&self, key: &str) -> Place {
        let parent = key.rsplit_once('.').map(|(parent, _)| parent);
        let value = self.find(key).or_else(|| self.find(parent?));
        match value {
            Some(value) => Place::Span(value.span()),
            None if self.place.is_empty() => Place::Nowhere,
            None => Place::Span(self.place.clone()),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Value<'a>> {
        let mut steps = key.split('.');
        let first = self.table?.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get_ref().as_table()?.get(step))
    }

    fn name(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A key, its place and its value.
type Pair<'a> = (&'a str, Range<usize>, &'a Value<'a>);

/// The pairs of a table in the order of the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<Pair<'a>> {
    let mut pairs: Vec<Pair<'a>> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    pairs.sort_by_key(|(_, place, _)| place.start);
    pairs
}

/// What the operator probably meant by an unknown key.
fn meant(name: &str, known: &[&'static str]) -> Option<String> {
    if reference::LATER.contains(&name) {
        return Some("not supported by this version".to_owned());
    }
    if let Some(similar) = most_similar(name, known) {
        return Some(format!("did you mean `{similar}`?"));
    }
    let homes = reference::homes(name);
    (!homes.is_empty()).then(|| format!("`{name}` belongs in {homes}"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        /// Every key that was asked for on this thread, with its tables.
        pub(crate) static KNOWN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }
}
