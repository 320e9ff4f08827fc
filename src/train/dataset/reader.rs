//! From files to a data set: one reader for terminal and page, which only hand it names and bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use super::archive::{self, Entry};
use super::array::{Array, Header, Layout, Range, Scale, WHICH};
use super::builder::{Builder, Class, Options, Picture, Skipped};
use super::problem::Problem;
use super::source::{Section, Source};
use super::{Dataset, decode, names};
use crate::budget::{Budget, Held};
use crate::error::{Error, Result};

/// A data set, and what was made of the files.
#[derive(Debug)]
pub struct Reading {
    /// What to train on.
    pub data: Dataset,
    /// What was left out, up to a thousand.
    pub skipped: Vec<Skipped>,
    /// How much was left out.
    pub skipped_count: usize,
    /// How arrays were understood, a sentence each.
    pub notes: Vec<String>,
}

/// Reads files one by one.
pub struct Reader {
    options: Options,
    budget: Rc<Budget>,
    builder: Builder,
    given: Vec<(String, Box<dyn Source>)>,
    /// What is read, once it is known; the last is the next.
    items: Option<Vec<Item>>,
    total: usize,
    /// Bytes at the beginning of every item's name that all share.
    shared: usize,
    arrays: Vec<(Item, Header)>,
    /// What is named as labels, and why it is not read.
    unreadable: Vec<(Item, String)>,
    notes: Vec<String>,
    /// Whether a browser decodes what is not decoded here.
    with_browser: bool,
}

/// How far a [`Reader`] is.
#[derive(Debug)]
pub enum Step {
    /// A file was read.
    Read {
        /// Files read so far.
        done: usize,
        /// Files in all.
        total: usize,
    },
    /// A picture that only browsers decode; [`Reader::add`] or [`Reader::skip`] comes next.
    Foreign {
        /// The file.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// All were read.
    Done,
}

/// A file to read, or an entry of an archive.
#[derive(Clone, Debug)]
struct Item {
    name: String,
    /// Its position among the files given.
    file: usize,
    entry: Option<Box<Entry>>,
}

/// The files that show that a folder is a model that was trained, whose samples are no data.
const OF_A_MODEL: [&str; 3] = ["training-state.safetensors", "model_index.json", "train.py"];

impl Reader {
    /// # Errors
    /// [`Error::Option`] for an impossible size.
    pub fn new(options: Options, with_browser: bool) -> Result<Self> {
        let budget = Rc::new(Budget::default());
        Ok(Self {
            builder: Builder::new(options, budget.clone())?,
            options,
            budget,
            given: Vec::new(),
            items: None,
            total: 0,
            shared: 0,
            arrays: Vec::new(),
            unreadable: Vec::new(),
            notes: Vec::new(),
            with_browser,
        })
    }

    /// Gives a file; all of them before the first step.
    ///
    /// # Errors
    /// [`Error::Dataset`] where there are more than the memory is worth.
    pub fn push(&mut self, name: String, source: Box<dyn Source>) -> Result<()> {
        self.budget.give(source.size());
        self.keep(200 + 2 * name.len())?;
        self.given.push((name, source));
        Ok(())
    }

    fn keep(&self, bytes: usize) -> Result<()> {
        let refuse = |r| Error::Dataset { problem: format!("its list of {} files: {r}", self.given.len()) };
        self.budget.keep(bytes as u64).map_err(refuse)
    }

    /// Notes what was left out before it could be given.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.builder.skip(name, why);
    }

    /// Adds a picture that was decoded elsewhere.
    ///
    /// # Errors
    /// [`Error::Dataset`] where the data set would be too large.
    pub fn add(&mut self, name: &str, picture: &Picture) -> Result<()> {
        let class = class(name, self.shared);
        self.builder.add(name, &class, picture).map_err(|r| too_large(&r))
    }

    /// Adds a picture that is in no file; an empty class is none.
    ///
    /// # Errors
    /// [`Error::Dataset`] where the data set would be too large.
    pub fn add_of_class(&mut self, class: &str, picture: &Picture) -> Result<()> {
        self.budget.give(picture.pixels.len() as u64);
        self.builder.add(class, &Class::named(class), picture).map_err(|r| too_large(&r))
    }

    /// Reads the next file.
    ///
    /// # Errors
    /// [`Error::Dataset`] where that says that nothing should be made of all of them.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is fallible, and an iterator would borrow the reader"
    )]
    pub fn next(&mut self) -> Result<Step> {
        if self.items.is_none() {
            let items = self.list()?;
            self.total = items.len();
            self.items = Some(items);
        }
        let Some(item) = self.items.as_mut().and_then(Vec::pop) else {
            let arrays = std::mem::take(&mut self.arrays);
            self.read_arrays(&arrays)?;
            return Ok(Step::Done);
        };
        let before = self.builder.len();
        let read = self.read(&item);
        self.given[item.file].1.close();
        match read {
            Ok(Some(foreign)) => return Ok(foreign),
            Ok(None) => {}
            Err(Problem::Skip(why)) => {
                self.builder.roll_back(before);
                self.builder.skip(&item.name, &why);
            }
            Err(Problem::End(why)) => return Err(ended(&item.name, &why)),
        }
        let left = self.items.as_ref().map_or(0, Vec::len);
        Ok(Step::Read { done: self.total - left, total: self.total })
    }

    /// The data set.
    ///
    /// # Errors
    /// [`Error::Dataset`] where there are no pictures.
    pub fn finish(self) -> Result<Reading> {
        let (data, skipped, skipped_count) = self.builder.finish()?;
        Ok(Reading { data, skipped, skipped_count, notes: self.notes })
    }

    /// What there is to read, the first at the end. The names in archives are read, and nothing else of them.
    fn list(&mut self) -> Result<Vec<Item>> {
        let shared = names::shared_folders(self.given.iter().map(|(name, _)| name.as_str()));
        let mut items = Vec::new();
        for file in 0..self.given.len() {
            let (name, source) = &self.given[file];
            if names::is_hidden(&name[shared..]) {
                continue;
            }
            let is_alone = self.given.len() == 1;
            if !(names::is_archive(name) || is_alone && starts_as_archive(&**source)) {
                items.push(Item { name: name.clone(), file, entry: None });
                continue;
            }
            match archive::entries(&**source, &self.budget) {
                Ok(entries) => {
                    let folder = names::folder(name).to_owned();
                    let before = items.len();
                    let mut hidden = Vec::new();
                    for entry in entries {
                        let name = format!("{folder}{}", entry.name);
                        if names::leads_out(&entry.name) {
                            let why = "its name leads out of the archive, with \"..\" in it; make the ZIP again from within its folder";
                            self.builder.skip(&name, why);
                        } else if names::is_hidden(&entry.name) {
                            hidden.push(name);
                        } else {
                            items.push(Item { name, file, entry: Some(Box::new(entry)) });
                        }
                    }
                    if items.len() == before {
                        // Otherwise nobody would know why there is nothing in it.
                        let why = "its name is that of a hidden file, which is not read";
                        hidden.iter().for_each(|name| self.builder.skip(name, why));
                    }
                }
                Err(why) => {
                    let why = format!("it is not a readable ZIP archive: {why}");
                    if is_alone {
                        return Err(ended(name, &why));
                    }
                    let name = name.clone();
                    self.builder.skip(&name, &why);
                }
            }
            self.given[file].1.close();
        }
        self.shared = names::shared_folders(items.iter().map(|item| item.name.as_str()));
        self.leave_out_models(&mut items);
        items.sort_by(|a, b| names::order(&b.name, &a.name));
        Ok(items)
    }

    /// Samples of a model that was trained into a folder within the data are no data.
    fn leave_out_models(&mut self, items: &mut Vec<Item>) {
        let shared = self.shared;
        let is_marker = |item: &&Item| {
            OF_A_MODEL
                .iter()
                .any(|file| item.name[shared..].rsplit_once('/').is_some_and(|(_, f)| f == *file))
        };
        let mut models: Vec<String> =
            items.iter().filter(is_marker).map(|item| names::folder(&item.name).to_owned()).collect();
        models.sort_unstable();
        models.dedup();
        for (i, model) in models.iter().enumerate() {
            if !models[..i].iter().any(|above| model.starts_with(above)) {
                self.builder.skip(model, "it is a model that was trained, and its samples are no data");
            }
        }
        items.retain(|item| !models.iter().any(|model| item.name.starts_with(model)));
    }

    /// An item's first bytes, all of its bytes as a stream, and how many they are, where that is known. What is compressed by
    /// gzip is unpacked.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn open<'a>(&'a self, item: &Item) -> Result<(Vec<u8>, Box<dyn Read + 'a>, Option<u64>), Problem> {
        let source = &*self.given[item.file].1;
        let (stream, length): (Box<dyn Read + 'a>, u64) = match &item.entry {
            None => (Box::new(Section::whole(source)), source.size()),
            Some(entry) => (archive::open(source, entry)?, entry.size),
        };
        let (head, stream) = peek(stream)?;
        if !head.starts_with(&[0x1F, 0x8B]) {
            return Ok((head, stream, Some(length)));
        }
        let unpacked = flate2::bufread::MultiGzDecoder::new(BufReader::new(stream));
        let (head, stream) = peek(Box::new(unpacked))?;
        Ok((head, stream, None))
    }

    /// Reads a picture, or the header of an array, whose turn comes when all are known.
    fn read(&mut self, item: &Item) -> Result<Option<Step>, Problem> {
        let budget = self.budget.clone();
        let class = class(&item.name, self.shared);
        let (head, mut stream, length) = self.open(item)?;
        if archive::is_archive(&head) {
            let why = if item.entry.is_some() {
                "it is an archive within an archive; unpack one of them"
            } else {
                "it is a ZIP archive; give it a name that ends with .zip"
            };
            return Err(why.into());
        }
        if Header::is(&head) {
            let header = Header::read(&mut stream, length);
            drop(stream);
            let header = match header {
                Err(Problem::Skip(why)) if names::subject(&item.name).0 => {
                    budget.keep(200 + (item.name.len() + why.len()) as u64)?;
                    self.unreadable.push((item.clone(), why.clone()));
                    return Err(why.into());
                }
                header => header?,
            };
            self.budget.keep(400 + 3 * item.name.len() as u64)?;
            self.arrays.push((item.clone(), header));
            return Ok(None);
        }
        decode::check(&head, self.with_browser)?;
        let (bytes, _held) = budget.read(&mut stream, length)?;
        drop(stream);
        if let Some((width, height)) = decode::foreign(&bytes) {
            decode::afford(&budget, width.saturating_mul(height), 8, 1)?;
            return Ok(Some(Step::Foreign { name: item.name.clone(), bytes }));
        }
        let builder = RefCell::new(&mut self.builder);
        let room = |count, width, height| {
            let room = builder.borrow().check_room(count, [width, height], 0);
            room.map_err(|r| Problem::End(too_large_text(&r)))
        };
        decode::pictures(&bytes, &budget, &room, &mut |picture| {
            let added = builder.borrow_mut().add(&item.name, &class, picture);
            added.map_err(|r| Problem::End(too_large_text(&r)))
        })?;
        Ok(None)
    }
}

/// What an array holds.
enum Content {
    Pictures {
        layout: Layout,
        range: Range,
    },
    Labels,
    /// Nothing of use, which was told.
    Nothing,
}

/// An array in the folder or archive that it is read with.
struct Member<'a> {
    item: &'a Item,
    header: &'a Header,
    content: Content,
}

impl Member<'_> {
    /// How many pictures it holds, where it is a list of them.
    fn count(&self) -> Option<usize> {
        if let Content::Pictures { layout, .. } = &self.content { layout.count } else { None }
    }
}

/// Where an array lies: its archive, if any, and its folder. Those of one place belong together.
fn place(item: &Item) -> (Option<usize>, &str) {
    (item.entry.as_ref().map(|_| item.file), names::folder(&item.name))
}

/// Asks which of several arrays in one place are the pictures, where not all are one picture each, or parts of one set by their names.
fn ask_which_pictures(group: &[Member<'_>]) -> Result<()> {
    let pictures = group.iter().filter_map(|m| match &m.content {
        Content::Pictures { layout, .. } => Some((m.item.name.as_str(), layout)),
        _ => None,
    });
    let pictures: Vec<(&str, &Layout)> = pictures.collect();
    if pictures.len() < 2 || pictures.iter().all(|(_, layout)| layout.count.is_none()) {
        return Ok(());
    }
    let kind = |(name, layout): &(&str, &Layout)| {
        (names::part(name).0, layout.count.is_some(), layout.height, layout.width, layout.channels)
    };
    let parts: BTreeSet<_> = pictures.iter().map(|(name, _)| names::part(name).1).collect();
    if parts.len() == pictures.len() && pictures.iter().all(|p| kind(p) == kind(&pictures[0])) {
        return Ok(());
    }
    let shown = |(name, layout): &(&str, &Layout)| match layout.count {
        Some(count) => format!("{name} ({count} of {})", size(layout)),
        None => format!("{name} (one of {})", size(layout)),
    };
    let mut names: Vec<String> = pictures.iter().take(6).map(shown).collect();
    if pictures.len() > names.len() {
        names.push(format!("{} more", pictures.len() - names.len()));
    }
    let problem = format!(
        "{} may all be pictures: which are the pictures to train on? Leave only those there. If they are parts of one set, name them so, as train_images and test_images; if they are classes, put each in a folder of its own",
        names.join(", ")
    );
    Err(Error::Dataset { problem })
}

impl Reader {
    /// Arrays in one folder, or in one folder of one archive, belong together: pictures, and labels for them.
    fn read_arrays(&mut self, arrays: &[(Item, Header)]) -> Result<()> {
        let mut groups: BTreeMap<(Option<usize>, &str), Vec<Member<'_>>> = BTreeMap::new();
        for (item, header) in arrays {
            groups.entry(place(item)).or_default().push(Member { item, header, content: Content::Nothing });
        }
        for group in groups.values_mut() {
            self.understand(group)?;
        }
        // They are all on one scale.
        let mut ranges: Vec<Range> = Vec::new();
        for member in groups.values().flatten() {
            if let Content::Pictures { range, .. } = &member.content {
                match ranges.iter_mut().find(|r| r.is_like(range)) {
                    Some(joined) => joined.join(range),
                    None => ranges.push(*range),
                }
            }
        }
        for group in groups.values() {
            self.add_group(group, &ranges)?;
        }
        Ok(())
    }

    /// Finds out what each array of a folder holds.
    fn understand(&mut self, group: &mut [Member<'_>]) -> Result<()> {
        // How many arrays have the same sizes, how long lists of pictures may be, and how long labels are.
        let mut together: BTreeMap<&[usize], usize> = BTreeMap::new();
        let (mut lists, mut labels) = (BTreeSet::new(), BTreeSet::new());
        for Member { item, header, .. } in group.iter() {
            *together.entry(&header.shape).or_default() += 1;
            match header.shape[..] {
                [count] => labels.insert(count),
                [count, _] => names::subject(&item.name).0 && labels.insert(count),
                [count, ..] if header.is_column() => names::subject(&item.name).0 && labels.insert(count),
                [count, ..] => lists.insert(count),
                [] => false,
            };
        }
        for member in group.iter_mut() {
            let (item, header) = (member.item, member.header);
            let shape = &header.shape;
            // A table or a column beside a list of as many pictures, or one beside any that says that it is labels.
            let is_named = names::subject(&item.name).0 && !lists.is_empty();
            let is_table =
                (shape.len() == 2 || header.is_column()) && (is_named || lists.contains(&shape[0]));
            let content = if header.is_text() || shape.len() == 1 || is_table {
                Content::Labels
            } else {
                let together = together.get(&shape[..]).copied().unwrap_or(1);
                let is_list = header.is_idx() || labels.contains(&shape[0]);
                let found = Layout::of(shape, together, is_list).and_then(|layout| {
                    if let Some(count) = layout.count {
                        let room = self.builder.check_room(count as u64, [layout.width, layout.height], 0);
                        room.map_err(|r| Problem::End(too_large_text(&r)))?;
                    }
                    let (array, _held) = self.array(item, header)?;
                    Ok(Content::Pictures { layout, range: array.range()? })
                });
                self.given[item.file].1.close();
                match found {
                    Ok(content) => content,
                    Err(Problem::End(why)) => return Err(ended(&item.name, &why)),
                    Err(Problem::Skip(why)) => {
                        self.builder.skip(&item.name, &why);
                        Content::Nothing
                    }
                }
            };
            member.content = content;
        }
        ask_which_pictures(group)
    }

    fn array(&self, item: &Item, header: &Header) -> Result<(Array, Held<'_>), Problem> {
        let (_, mut stream, length) = self.open(item)?;
        let (bytes, held) = self.budget.read(&mut stream, length)?;
        Ok((Array::new(header.clone(), bytes)?, held))
    }

    fn add_group(&mut self, group: &[Member<'_>], ranges: &[Range]) -> Result<()> {
        let mut labels = Labels::default();
        let mut singles: Option<(usize, &Layout, String, &str)> = None;
        for member in group {
            let Content::Pictures { layout, range } = &member.content else { continue };
            let name = &member.item.name;
            let all = ranges.iter().find(|r| r.is_like(range)).unwrap_or(range);
            if !range.is_within(all, layout.count.is_some()) {
                let (own, all) = (range.words(), all.words());
                let why = format!(
                    "its numbers go from {own}, and with those of the other arrays from {all}: {WHICH}, all of them on one scale"
                );
                return Err(ended(name, &why));
            }
            let (scale, words) = all.scale().map_err(|why| ended(name, &why))?;
            let mut classes = None;
            if let Some(count) = layout.count {
                classes = self.labels_of(member, count, group, &mut labels)?;
                let from = match &classes {
                    None => String::new(),
                    Some((classes, from)) => {
                        let sorting = self.budget.hold(8 * count as u64);
                        let _held = sorting.map_err(|r| ended(name, &too_large_text(&r)))?;
                        let mut found: Vec<&Class> = classes.iter().collect();
                        found.sort_unstable();
                        found.dedup();
                        let room = self.builder.check_room(
                            count as u64,
                            [layout.width, layout.height],
                            found.len() as u64,
                        );
                        room.map_err(|r| ended(name, &too_large_text(&r)))?;
                        match found[..] {
                            [one] => format!(
                                "; {from} labels all of them {}, and one label alone makes no classes",
                                one.shown()
                            ),
                            _ => format!("; classes by {from}"),
                        }
                    }
                };
                self.notes.push(format!("{name}: {count} pictures of {}, {words}{from}", size(layout)));
            } else {
                singles.get_or_insert((0, layout, words, name)).0 += 1;
            }
            let added = self.add_pictures(member, layout, scale, classes.as_ref().map(|(c, _)| &c[..]));
            self.given[member.item.file].1.close();
            match added {
                Ok(()) => {}
                Err(Problem::Skip(why)) => self.builder.skip(name, &why),
                Err(Problem::End(why)) => return Err(ended(name, &why)),
            }
        }
        if let Some((count, layout, words, name)) = singles {
            let size = size(layout);
            self.notes.push(match (count, names::folder(name)) {
                (1, _) => format!("{name}: one picture of {size}, {words}"),
                (_, "") => format!("{count} arrays of one picture each, the first of {size}, {words}"),
                (_, folder) => {
                    format!("{folder}: {count} arrays of one picture each, the first of {size}, {words}")
                }
            });
        }
        let unused =
            |m: &&Member<'_>| matches!(m.content, Content::Labels) && !labels.used.contains(&m.item.name);
        for member in group.iter().filter(unused) {
            let why = if let Some(why) = labels.refused(&member.item.name) {
                self.builder.skip(&member.item.name, &why);
                continue;
            } else if self.options.no_classes {
                continue;
            } else {
                "it may be labels, but it is not used as those of any list of pictures beside it"
            };
            self.builder.skip(&member.item.name, why);
        }
        Ok(())
    }

    fn add_pictures(
        &mut self,
        member: &Member<'_>,
        layout: &Layout,
        scale: Scale,
        classes: Option<&[Class]>,
    ) -> Result<(), Problem> {
        let folder = class(&member.item.name, self.shared);
        let budget = self.budget.clone();
        let (_, mut stream, length) = self.open(member.item)?;
        let (bytes, _held) = budget.read(&mut stream, length)?;
        drop(stream);
        let array = Array::new(member.header.clone(), bytes)?;
        if let Some(count) = layout.count {
            let room = self.builder.reserve(count, [layout.width, layout.height]);
            room.map_err(|r| Problem::End(too_large_text(&r)))?;
        }
        for index in 0..layout.count.unwrap_or(1) {
            let picture = array.picture(layout, index, scale);
            let class = classes.map_or(&folder, |c| &c[index]);
            self.builder
                .add(&member.item.name, class, &picture)
                .map_err(|r| Problem::End(too_large_text(&r)))?;
        }
        Ok(())
    }

    /// The labels of a list of pictures, and which array they are from.
    fn labels_of(
        &self,
        pictures: &Member<'_>,
        count: usize,
        group: &[Member<'_>],
        labels: &mut Labels,
    ) -> Result<Option<(Rc<Vec<Class>>, String)>> {
        if self.options.no_classes {
            return Ok(None);
        }
        let (_, about) = names::subject(&pictures.item.name);
        let lists: Vec<&Member<'_>> = group.iter().filter(|m| m.count().is_some()).collect();
        let is_vector = |m: &&Member<'_>| {
            matches!(m.content, Content::Labels) && (m.header.shape.len() == 1 || m.header.is_column())
        };
        // Four numbers beside pictures may be those of the channels.
        let only = (lists.len() == 1 && group.iter().filter(is_vector).count() == 1)
            .then(|| group.iter().find(is_vector))
            .flatten()
            .filter(|m| m.header.shape[0] > 4);
        // How sure it is that an array holds the labels of these pictures: 2 by a name like theirs, 1 by its name, or as there
        // is no other. None where it is named as those of other pictures.
        let sure = |name: &str, is_only: bool| match names::subject(name) {
            (true, of) if of == about => Some(2),
            (true, of) => {
                let others = lists.iter().any(|m| names::subject(&m.item.name).1 == of);
                (!others).then_some(1)
            }
            _ if is_only => Some(1),
            _ => Some(0),
        };
        let mut found = Vec::new();
        let mut unusable: Vec<(usize, &str, String)> = Vec::new();
        for member in group.iter().filter(|m| matches!(m.content, Content::Labels)) {
            let name = member.item.name.as_str();
            let is_only = only.is_some_and(|o| o.item.name == name);
            let Some(sure) = sure(name, is_only) else { continue };
            let rows = member.header.shape[0];
            if rows != count {
                let noun = if rows == 1 { "label" } else { "labels" };
                unusable.push((sure, name, format!("it has {rows} {noun} for {count} pictures")));
                continue;
            }
            match labels.read(self, member)? {
                Ok(classes) => found.push((sure, name, classes)),
                Err(why) => unusable.push((sure, name, why)),
            }
        }
        for (item, why) in self.unreadable.iter().filter(|(item, _)| place(item) == place(pictures.item)) {
            if let Some(sure) = sure(&item.name, false) {
                unusable.push((sure, &item.name, why.clone()));
            }
        }
        let surest = found.iter().map(|(sure, ..)| *sure).max().unwrap_or(0);
        if let Some((_, name, why)) = unusable.iter().find(|(sure, ..)| *sure > surest) {
            let problem = format!(
                "{name} seems to hold the labels of {}, but {why}. Mend it, or take it away to train without classes",
                pictures.item.name
            );
            return Err(Error::Dataset { problem });
        }
        let chosen: Vec<(&str, Rc<Vec<Class>>)> =
            found.into_iter().filter(|f| f.0 == surest).map(|(_, name, classes)| (name, classes)).collect();
        match chosen[..] {
            [] => Ok(None),
            [(name, ref classes)] => {
                labels.used.push(name.to_owned());
                Ok(Some((classes.clone(), name.to_owned())))
            }
            _ => {
                let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
                let problem = format!(
                    "{} has {count} pictures, and {} have {count} labels each: which are the classes? Leave only those there, or have them named as the pictures are, with `labels` in it",
                    pictures.item.name,
                    names.join(", ")
                );
                Err(Error::Dataset { problem })
            }
        }
    }
}

/// A list of classes by the name of its file, or why it is none.
type Labelling = (String, std::result::Result<Rc<Vec<Class>>, String>);

/// The labels that were read, so that none is read twice.
#[derive(Default)]
struct Labels {
    read: RefCell<Vec<Labelling>>,
    used: Vec<String>,
}

impl Labels {
    /// The classes, or why they are none.
    fn read(
        &self,
        reader: &Reader,
        member: &Member<'_>,
    ) -> Result<std::result::Result<Rc<Vec<Class>>, String>> {
        let name = &member.item.name;
        if let Some((_, classes)) = self.read.borrow().iter().find(|(n, _)| n == name) {
            return Ok(classes.clone());
        }
        let count = member.header.shape[0] as u64;
        let room = reader.budget.keep(count.saturating_mul(2 * size_of::<Class>() as u64));
        let classes = room
            .map_err(Problem::from)
            .and_then(|()| Ok(reader.array(member.item, member.header)?.0.classes()));
        reader.given[member.item.file].1.close();
        let classes = match classes {
            Ok(classes) => classes.map(Rc::new),
            Err(Problem::Skip(why) | Problem::End(why)) => return Err(ended(name, &why)),
        };
        self.read.borrow_mut().push((name.clone(), classes.clone()));
        Ok(classes)
    }

    /// Why an array that was looked at holds no labels.
    fn refused(&self, name: &str) -> Option<String> {
        let read = self.read.borrow();
        read.iter().find(|(n, _)| n == name).and_then(|(_, classes)| classes.as_ref().err().cloned())
    }
}

fn size(layout: &Layout) -> String {
    let colours = match layout.channels {
        1 => "grey",
        3 => "colour",
        _ => "colour with transparency",
    };
    format!("{}×{}, {colours}", layout.width, layout.height)
}

fn class(name: &str, shared: usize) -> Class {
    Class::named(names::class(&name[shared..]).unwrap_or_default())
}

fn ended(name: &str, why: &str) -> Error {
    Error::Dataset { problem: format!("{name}: {why}") }
}

fn too_large_text(refused: &crate::budget::Refused) -> String {
    format!("{refused}. Choose a smaller size, or fewer pictures")
}

fn too_large(refused: &crate::budget::Refused) -> Error {
    Error::Dataset { problem: too_large_text(refused) }
}

fn starts_as_archive(source: &dyn Source) -> bool {
    let mut head = [0; 4];
    Section::whole(source).read_exact(&mut head).is_ok() && archive::is_archive(&head)
}

/// The first bytes of a stream, and the whole of it.
fn peek<'a>(mut stream: Box<dyn Read + 'a>) -> io::Result<(Vec<u8>, Box<dyn Read + 'a>)> {
    let mut head = Vec::new();
    // tar says what it is at 257.
    (&mut stream).take(264).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(stream))))
}
