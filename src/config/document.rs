//! TOML text as tables whose keys know where they stand, and the reading of one table key by key.
//!
//! All faults of the text are found in one pass. A table's reader reports unknown keys when it is opened, with the known key
//! that was probably meant, and values of a wrong type when they are read. What values mean is the checker's matter.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    keys::{Key, SECTIONS, Section},
    nearest::nearest,
    problem::{Place, Problems},
};

/// A key's value, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Entry<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The key is there, and what is wrong with its value is reported already.
    Wrong,
    /// The value and where it stands.
    Given(T, Place),
}

/// The text's tables, and what is wrong with the text itself.
pub(super) struct Document<'i> {
    text: &'i str,
    root: DeTable<'i>,
    faults: Vec<Fault>,
}

struct Fault {
    offset: usize,
    end: usize,
    message: String,
}

/// What the parser says where a key or a table stands twice.
const DUPLICATE: &str = "duplicate key";

impl<'i> Document<'i> {
    /// Parses the text as far as that is possible.
    pub(super) fn parse(text: &'i str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let fault = |error: &toml::de::Error| {
            let span = error.span().unwrap_or(0..0);
            Fault { offset: span.start, end: span.end, message: error.message().replace('\n', ", ") }
        };
        Self { text, root: root.into_inner(), faults: errors.iter().map(fault).collect() }
    }

    /// The file's own table.
    pub(super) fn root<'d>(&'d self, section: &'static Section, problems: &mut Problems) -> TableReader<'d, 'i> {
        TableReader::open(&self.root, Place::default(), section, problems)
    }

    /// Adds what is wrong with the text. Where it can't be read, what was found behind that place is only a consequence.
    pub(super) fn report(&self, problems: &mut Problems) {
        let is_duplicate = |fault: &&Fault| fault.message == DUPLICATE;
        let unreadable = self.faults.iter().filter(|fault| !is_duplicate(fault));
        let first = unreadable.clone().map(|fault| fault.offset).min();
        if let Some(first) = first {
            problems.trust_only_before(first);
        }
        for fault in unreadable {
            problems.add(
                &Place::default().at(fault.offset),
                format!("this is not TOML: {}", fault.message),
                "mend it first: behind it more may be wrong",
            );
        }
        for fault in
            self.faults.iter().filter(is_duplicate).filter(|fault| first.is_none_or(|first| fault.offset < first))
        {
            let place = self.place_of_duplicate(fault);
            problems.add(&place, "stands here for the second time", "leave one of the two");
        }
    }

    fn place_of_duplicate(&self, fault: &Fault) -> Place {
        let before = &self.text[..fault.offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let up_to_name = self.text[line_start..fault.end].trim_start();
        if up_to_name.starts_with('[') {
            return Place::default().below(up_to_name.trim_start_matches(['[', ' ', '\t'])).at(fault.offset);
        }
        // What stands right before a dotted key belongs to it.
        let start = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c)).len();
        self.enclosing(fault.offset).below(&self.text[start..fault.end]).at(fault.offset)
    }

    /// The innermost table that a key at `offset` belongs to.
    fn enclosing(&self, offset: usize) -> Place {
        let mut best = Place::default();
        let mut open = tables_below(&self.root, &Place::default());
        while let Some((place, span, table)) = open.pop() {
            // A header's span covers the header alone: its keys follow, up to the next header.
            let is_header = self.text[span.start..].starts_with('[');
            let may_hold = if is_header { span.end <= offset } else { span.contains(&offset) };
            if may_hold && span.start >= best.offset {
                best = place.clone().at(span.start);
            }
            open.extend(tables_below(table, &place));
        }
        best
    }
}

fn tables_below<'d, 'i>(table: &'d DeTable<'i>, place: &Place) -> Vec<ChildTable<'d, 'i>> {
    let children = table.iter().map(|(key, value)| match value.get_ref() {
        DeValue::Table(table) => vec![(place.below(key.get_ref()), value.span(), table)],
        DeValue::Array(array) => tables_of(array, &place.below(key.get_ref())),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            Vec::new()
        }
    });
    children.flatten().collect()
}

type ChildTable<'d, 'i> = (Place, std::ops::Range<usize>, &'d DeTable<'i>);

fn tables_of<'d, 'i>(array: &'d [Spanned<DeValue<'i>>], place: &Place) -> Vec<ChildTable<'d, 'i>> {
    let numbered = array.iter().enumerate();
    numbered
        .filter_map(|(index, element)| {
            let table = element.get_ref().as_table()?;
            Some((numbered_place(place, index, element.span().start), element.span(), table))
        })
        .collect()
}

fn numbered_place(place: &Place, index: usize, offset: usize) -> Place {
    Place { path: format!("{}[{}]", place.path, index + 1), offset }
}

/// One table, read key by key.
pub(super) struct TableReader<'d, 'i> {
    table: &'d DeTable<'i>,
    section: &'static Section,
    place: Place,
    /// Known keys that an unknown one probably meant: they count as wrong, not as absent.
    meant: Vec<&'static str>,
}

impl<'d, 'i> TableReader<'d, 'i> {
    fn open(table: &'d DeTable<'i>, place: Place, section: &'static Section, problems: &mut Problems) -> Self {
        let mut meant = Vec::new();
        for key in table.keys().filter(|key| section.key(key.get_ref()).is_none()) {
            let shown = shown_key(key.get_ref());
            let known = nearest(key.get_ref(), section.keys.iter().map(|key| key.name));
            let remedy = match known {
                Some(known) => format!("did you mean {known}?"),
                None => where_it_belongs(section, key.get_ref()),
            };
            problems.add(&place.below(&shown).at(key.span().start), "unknown key", remedy);
            meant.extend(known);
        }
        Self { table, section, place, meant }
    }

    /// Where the table stands.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A text.
    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Entry<String> {
        self.read(name, problems, |value| value.as_str().map(str::to_owned))
    }

    /// Texts in an array.
    pub(super) fn texts(&self, name: &str, problems: &mut Problems) -> Entry<Vec<String>> {
        self.read(name, problems, |value| {
            value.as_array()?.iter().map(|element| element.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// A whole number; one beyond all ranges becomes the nearest end.
    pub(super) fn whole_number(&self, name: &str, problems: &mut Problems) -> Entry<i128> {
        self.read(name, problems, |value| {
            let integer = value.as_integer()?;
            let beyond = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(beyond))
        })
    }

    /// True or false.
    pub(super) fn truth(&self, name: &str, problems: &mut Problems) -> Entry<bool> {
        self.read(name, problems, DeValue::as_bool)
    }

    /// A table below this one.
    pub(super) fn table(
        &self,
        name: &str,
        section: &'static Section,
        problems: &mut Problems,
    ) -> Entry<TableReader<'d, 'i>> {
        match self.read(name, problems, DeValue::as_table) {
            Entry::Given(table, place) => {
                let reader = TableReader::open(table, place.clone(), section, problems);
                Entry::Given(reader, place)
            }
            Entry::Absent => Entry::Absent,
            Entry::Wrong => Entry::Wrong,
        }
    }

    /// The tables of an array.
    pub(super) fn tables(
        &self,
        name: &str,
        section: &'static Section,
        problems: &mut Problems,
    ) -> Entry<Vec<TableReader<'d, 'i>>> {
        let as_tables = |value: &'d DeValue<'i>| {
            let array = value.as_array()?;
            array.iter().all(|element| element.get_ref().is_table()).then_some(array)
        };
        match self.read(name, problems, as_tables) {
            Entry::Given(array, place) => {
                let tables = tables_of(array, &place);
                let open = |(place, _, table)| TableReader::open(table, place, section, problems);
                Entry::Given(tables.into_iter().map(open).collect(), place)
            }
            Entry::Absent => Entry::Absent,
            Entry::Wrong => Entry::Wrong,
        }
    }

    /// The tables below a table of names that anybody may choose.
    pub(super) fn named_tables(
        &self,
        name: &str,
        section: &'static Section,
        problems: &mut Problems,
    ) -> Entry<Vec<(String, TableReader<'d, 'i>)>> {
        let (table, place) = match self.read(name, problems, DeValue::as_table) {
            Entry::Given(table, place) => (table, place),
            Entry::Absent => return Entry::Absent,
            Entry::Wrong => return Entry::Wrong,
        };
        let mut tables = Vec::with_capacity(table.len());
        for (chosen, value) in table {
            let shown = shown_key(chosen.get_ref());
            let place = place.below(&shown).at(value.span().start.max(chosen.span().start));
            match value.get_ref().as_table() {
                Some(table) => {
                    tables.push((chosen.get_ref().to_string(), TableReader::open(table, place, section, problems)));
                }
                None => {
                    let key = &section.keys[0];
                    let remedy = format!("write {shown} = {{ {} = {} }}", key.name, key.example);
                    problems.add(&place, format!("expected a table, found {}", type_name(value.get_ref())), remedy);
                }
            }
        }
        if tables.len() == table.len() { Entry::Given(tables, place) } else { Entry::Wrong }
    }

    /// Where the value stands, if it is a text.
    pub(super) fn place_of_text(&self, name: &str) -> Option<Place> {
        let value = self.table.get(name).filter(|value| value.get_ref().is_str())?;
        Some(self.place.below(name).at(value.span().start))
    }

    fn read<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        as_type: impl FnOnce(&'d DeValue<'i>) -> Option<T>,
    ) -> Entry<T> {
        let key = self.section.key(name).expect("invariant: only listed keys are read");
        let Some((typed, value)) = self.table.get_key_value(name) else {
            return if self.meant.contains(&key.name) { Entry::Wrong } else { Entry::Absent };
        };
        // The span of a table in brackets is its header, so it serves as well as a value's.
        let place = self.place.below(name).at(value.span().start.max(typed.span().start));
        match as_type(value.get_ref()) {
            Some(read) => Entry::Given(read, place),
            None => {
                problems.add(&place, wrong_type(key, value.get_ref()), write_as(key));
                Entry::Wrong
            }
        }
    }
}

fn wrong_type(key: &Key, found: &DeValue<'_>) -> String {
    format!("expected {}, found {}", key.expected, type_name(found))
}

fn type_name(found: &DeValue<'_>) -> &'static str {
    match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The example of a key, as a line to write.
pub(super) fn write_as(key: &Key) -> String {
    if key.example.starts_with('[') && !key.example.starts_with("[\"") {
        format!("write {}", key.example)
    } else {
        format!("write {} = {}", key.name, key.example)
    }
}

fn where_it_belongs(section: &Section, typed: &str) -> String {
    let homes: Vec<_> = SECTIONS.iter().filter(|other| !other.path.is_empty() && other.key(typed).is_some()).collect();
    if let [home] = homes[..] {
        let brackets = if home.path == "table" { "[[table]]".to_owned() } else { format!("[{}]", home.path) };
        return format!("{typed} belongs to {brackets}");
    }
    let known: Vec<_> = section.keys.iter().map(|key| key.name).collect();
    format!("known here: {}", known.join(", "))
}

fn shown_key(key: &str) -> String {
    if is_bare(key) { key.to_owned() } else { format!("{key:?}") }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
