//! From files to a data set: one reader for terminal and page, which only hand it names and bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use super::archive::{self, Entry};
use super::array::{Array, Header, Layout, Range, Scale};
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
                    let visible = entries.into_iter().filter(|e| !names::is_hidden(&e.name));
                    items.extend(visible.map(|entry| Item {
                        name: format!("{folder}{}", entry.name),
                        file,
                        entry: Some(Box::new(entry)),
                    }));
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
            let header = Header::read(&mut stream, length)?;
            drop(stream);
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
        let builder = &mut self.builder;
        decode::pictures(&bytes, &budget, &mut |picture| {
            builder.add(&item.name, &class, picture).map_err(|r| Problem::End(too_large_text(&r)))
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

impl Reader {
    /// Arrays in one folder, or in one folder of one archive, belong together: pictures, and labels for them.
    fn read_arrays(&mut self, arrays: &[(Item, Header)]) -> Result<()> {
        let mut groups: BTreeMap<(Option<usize>, &str), Vec<Member<'_>>> = BTreeMap::new();
        for (item, header) in arrays {
            let place = (item.entry.as_ref().map(|_| item.file), names::folder(&item.name));
            groups.entry(place).or_default().push(Member { item, header, content: Content::Nothing });
        }
        for group in groups.values_mut() {
            self.understand(group)?;
        }
        // Where each file is one picture, they are all on one scale.
        let mut single: Vec<Range> = Vec::new();
        for member in groups.values().flatten() {
            if let Content::Pictures { layout: Layout { count: None, .. }, range } = &member.content {
                match single.iter_mut().find(|s| s.is_like(range)) {
                    Some(joined) => joined.join(range),
                    None => single.push(*range),
                }
            }
        }
        for group in groups.values() {
            self.add_group(group, &single)?;
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
                [count, ..] => lists.insert(count),
                [] => false,
            };
        }
        for member in group.iter_mut() {
            let (item, header) = (member.item, member.header);
            let shape = &header.shape;
            let is_table = shape.len() == 2 && lists.contains(&shape[0]);
            let content = if header.is_text() || shape.len() == 1 || is_table {
                Content::Labels
            } else {
                let together = together.get(&shape[..]).copied().unwrap_or(1);
                let is_list = header.is_idx() || labels.contains(&shape[0]);
                let found = Layout::of(shape, together, is_list).map_err(Problem::from);
                let found = found.and_then(|layout| {
                    if let Some(count) = layout.count {
                        let room = self.builder.check_room(count as u64, layout.width, layout.height);
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
        Ok(())
    }

    fn array(&self, item: &Item, header: &Header) -> Result<(Array, Held<'_>), Problem> {
        let (_, mut stream, length) = self.open(item)?;
        let (bytes, held) = self.budget.read(&mut stream, length)?;
        Ok((Array::new(header.clone(), bytes)?, held))
    }

    fn add_group(&mut self, group: &[Member<'_>], single: &[Range]) -> Result<()> {
        let mut labels = Labels::default();
        let mut singles: Option<(usize, &Layout, String)> = None;
        for member in group {
            let Content::Pictures { layout, range } = &member.content else { continue };
            let name = &member.item.name;
            let joined = single.iter().find(|s| layout.count.is_none() && s.is_like(range)).unwrap_or(range);
            let (scale, words) = match joined.scale() {
                Ok(scale) => scale,
                Err(why) => {
                    self.builder.skip(name, &why);
                    continue;
                }
            };
            let mut classes = None;
            if let Some(count) = layout.count {
                classes = self.labels_of(member, count, group, &mut labels)?;
                let from =
                    classes.as_ref().map_or_else(String::new, |(_, from)| format!("; classes by {from}"));
                self.notes.push(format!("{name}: {count} pictures of {}, {words}{from}", size(layout)));
            } else {
                singles.get_or_insert((0, layout, words)).0 += 1;
            }
            let added = self.add_pictures(member, layout, scale, classes.as_ref().map(|(c, _)| &c[..]));
            self.given[member.item.file].1.close();
            match added {
                Ok(()) => {}
                Err(Problem::Skip(why)) => self.builder.skip(name, &why),
                Err(Problem::End(why)) => return Err(ended(name, &why)),
            }
        }
        if let Some((count, layout, words)) = singles {
            let folder = names::folder(&group[0].item.name);
            let noun = if count == 1 { "array" } else { "arrays" };
            self.notes.push(format!(
                "{folder}: {count} {noun} of one picture each, the first of {}, {words}",
                size(layout)
            ));
        }
        let unused =
            |m: &&Member<'_>| matches!(m.content, Content::Labels) && !labels.used.contains(&m.item.name);
        for member in group.iter().filter(unused) {
            let why = if labels.looked_at(&member.item.name) {
                "as labels, its rows are neither whole numbers nor text nor one-hot"
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
        let mut found = Vec::new();
        for member in group {
            let fits = matches!(member.content, Content::Labels) && member.header.shape[0] == count;
            if fits && let Some(classes) = labels.read(self, member)? {
                found.push((member.item.name.as_str(), classes));
            }
        }
        let (_, about) = names::subject(&pictures.item.name);
        let named = |(name, _): &(&str, _)| names::subject(name).0;
        let paired = |(name, _): &(&str, _)| names::subject(name) == (true, about.clone());
        let mut choices = [
            found.iter().filter(|f| paired(f)).collect::<Vec<_>>(),
            found.iter().filter(|f| named(f)).collect(),
        ]
        .into_iter()
        .chain([found.iter().collect()]);
        let chosen = choices.find(|c| !c.is_empty()).unwrap_or_default();
        match chosen[..] {
            [] => Ok(None),
            [(name, classes)] => {
                labels.used.push((*name).to_owned());
                Ok(Some((classes.clone(), (*name).to_owned())))
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

/// A list of classes by the name of its file; none where it cannot be read.
type Labelling = (String, Option<Rc<Vec<Class>>>);

/// The labels that were read, so that none is read twice.
#[derive(Default)]
struct Labels {
    read: RefCell<Vec<Labelling>>,
    used: Vec<String>,
}

impl Labels {
    /// None where they are no labels.
    fn read(&self, reader: &Reader, member: &Member<'_>) -> Result<Option<Rc<Vec<Class>>>> {
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

    fn looked_at(&self, name: &str) -> bool {
        self.read.borrow().iter().any(|(n, classes)| n == name && classes.is_none())
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
    (&mut stream).take(16).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(stream))))
}
