//! The trees of a run, each read once: commits that follow each other share nearly all of their directories, and every law
//! asks about the same ones. What is kept of them is bounded.
//!
//! Objects are read through libgit2, which checks that what it reads has the name that it was asked for by.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use git2::{Error, ObjectType, Odb, Oid, Repository};

/// Bytes of directories that are kept, twice over.
const BYTES_KEPT: usize = 2 << 20;
/// Directories of which it is kept what links are in them, twice over.
const DIRECTORIES_KEPT: usize = 50_000;

const DIRECTORY: u32 = 0o040_000;

/// Reads trees.
pub(super) struct Trees<'r> {
    odb: Odb<'r>,
    read: RefCell<Recent<Rc<Directory>>>,
    links: RefCell<Recent<Rc<[Link]>>>,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf {
    pub(super) mode: u32,
    pub(super) id: Oid,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File { executable: bool },
    Link,
    Submodule,
    Directory,
}

/// A path at which two trees have something else. Directories are none: they are what is in them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<Leaf>,
    pub(super) new: Option<Leaf>,
}

/// The text of a tree that is known to be one.
#[derive(Debug, Default)]
pub(super) struct Directory {
    text: Vec<u8>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
    /// Whether the lines stand in git's order; those of some old programs do not.
    sorted: bool,
}

/// A symbolic link below a directory, and what it says.
struct Link {
    path: Vec<u8>,
    text: Rc<[u8]>,
}

/// One line of a directory.
#[derive(Clone, Copy)]
struct Line<'t> {
    name: &'t [u8],
    leaf: Leaf,
}

/// What was asked for last, up to a weight of twice `most`: what was not asked for while as much came in goes.
struct Recent<V> {
    most: usize,
    weight: usize,
    young: HashMap<Oid, V>,
    old: HashMap<Oid, V>,
}

impl<V: Clone> Recent<V> {
    fn up_to(most: usize) -> Self {
        Self {
            most,
            weight: 0,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn get(&mut self, id: Oid, weigh: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(found) = self.young.get(&id) {
            return Some(found.clone());
        }
        let found = self.old.remove(&id)?;
        self.put(id, found.clone(), weigh(&found));
        Some(found)
    }

    fn put(&mut self, id: Oid, value: V, weight: usize) {
        if self.weight + weight > self.most {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(id, value);
    }
}

impl<'r> Trees<'r> {
    pub(super) fn of(repo: &'r Repository) -> Result<Self, Error> {
        Ok(Self {
            odb: repo.odb()?,
            read: RefCell::new(Recent::up_to(BYTES_KEPT)),
            links: RefCell::new(Recent::up_to(DIRECTORIES_KEPT)),
        })
    }

    /// The lines of a tree.
    ///
    /// # Errors
    /// If it is gone, damaged, or no tree.
    pub(super) fn read(&self, tree: Oid) -> Result<Rc<Directory>, Error> {
        if let Some(found) = self.read.borrow_mut().get(tree, |found| found.weight()) {
            return Ok(found);
        }
        let object = self.odb.read(tree)?;
        let text = (object.kind() == ObjectType::Tree).then(|| object.data().to_vec());
        let directory = text.and_then(Directory::of);
        let directory = directory
            .map(Rc::new)
            .ok_or_else(|| Error::from_str(&format!("{tree} is not a tree")))?;
        let mut read = self.read.borrow_mut();
        read.put(tree, Rc::clone(&directory), directory.weight());
        Ok(directory)
    }

    /// The paths at which two trees have something else, in no particular order.
    pub(super) fn changes(&self, old: Oid, new: Oid) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        let mut open = vec![(Vec::new(), Some(old), Some(new))];
        while let Some((above, old, new)) = open.pop() {
            if old == new {
                continue;
            }
            let read = |tree: Option<Oid>| tree.map_or_else(|| Ok(Rc::default()), |t| self.read(t));
            let (old, new) = (read(old)?, read(new)?);
            for [was, is] in old.pairs(&new) {
                let name = was.or(is).map(|line| line.name).unwrap_or_default();
                let path = joined(&above, name);
                let [was, is] = [was, is].map(|line| line.map(|line| line.leaf));
                if was == is {
                    continue;
                }
                if [was, is].iter().flatten().any(Leaf::is_directory) {
                    open.push((path, was.map(|leaf| leaf.id), is.map(|leaf| leaf.id)));
                } else {
                    changes.push(Change {
                        path,
                        old: was,
                        new: is,
                    });
                }
            }
        }
        Ok(changes)
    }

    /// What lies at a path of a tree.
    pub(super) fn at(&self, tree: Oid, path: &Path) -> Result<Option<Leaf>, Error> {
        let mut found = Leaf {
            mode: DIRECTORY,
            id: tree,
        };
        for part in path.components() {
            if !found.is_directory() {
                return Ok(None);
            }
            let directory = self.read(found.id)?;
            let wanted = part.as_os_str().as_bytes();
            match directory.named(wanted) {
                Some(line) => found = line.leaf,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The paths of all files and links of a tree.
    pub(super) fn files(&self, tree: Oid) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        let mut open = vec![(Vec::new(), tree)];
        while let Some((above, tree)) = open.pop() {
            for Line { name, leaf } in self.read(tree)?.lines() {
                let path = joined(&above, name);
                match leaf.kind() {
                    Kind::Directory => open.push((path, leaf.id)),
                    Kind::File { .. } | Kind::Link => {
                        files.push(Path::new(OsStr::from_bytes(&path)).to_owned());
                    }
                    Kind::Submodule => {}
                }
            }
        }
        Ok(files)
    }

    /// The content of a file, or what a link says.
    pub(super) fn content(&self, id: Oid) -> Result<Vec<u8>, Error> {
        let object = self.odb.read(id)?;
        match object.kind() {
            ObjectType::Blob => Ok(object.data().to_owned()),
            _ => Err(Error::from_str(&format!("{id} is not a file"))),
        }
    }

    /// The symbolic links of several trees; where they differ, those of the last one.
    pub(super) fn links(
        &self,
        trees: impl IntoIterator<Item = Oid>,
    ) -> Result<BTreeMap<PathBuf, Vec<u8>>, Error> {
        let mut links = BTreeMap::new();
        for tree in trees {
            for link in self.links_below(tree)?.iter() {
                let path = Path::new(OsStr::from_bytes(&link.path)).to_owned();
                links.insert(path, link.text.to_vec());
            }
        }
        Ok(links)
    }

    fn links_below(&self, tree: Oid) -> Result<Rc<[Link]>, Error> {
        if let Some(found) = self.links.borrow_mut().get(tree, weight) {
            return Ok(found);
        }
        let mut links = Vec::new();
        for Line { name, leaf } in self.read(tree)?.lines() {
            match leaf.kind() {
                Kind::Link => links.push(Link {
                    path: name.to_owned(),
                    text: self.content(leaf.id)?.into(),
                }),
                Kind::Directory => {
                    let below = self.links_below(leaf.id)?;
                    links.extend(below.iter().map(|link| Link {
                        path: joined(name, &link.path),
                        text: Rc::clone(&link.text),
                    }));
                }
                Kind::File { .. } | Kind::Submodule => {}
            }
        }
        let links: Rc<[Link]> = links.into();
        let mut kept = self.links.borrow_mut();
        kept.put(tree, Rc::clone(&links), weight(&links));
        Ok(links)
    }
}

/// A directory with its links.
fn weight(links: &Rc<[Link]>) -> usize {
    1 + links.len()
}

fn joined(above: &[u8], name: &[u8]) -> Vec<u8> {
    match above {
        [] => name.to_owned(),
        above => [above, name].join(&b'/'),
    }
}

impl Leaf {
    pub(super) fn kind(&self) -> Kind {
        match self.mode & 0o170_000 {
            DIRECTORY => Kind::Directory,
            0o120_000 => Kind::Link,
            0o160_000 => Kind::Submodule,
            _ => Kind::File {
                executable: self.mode & 0o100 != 0,
            },
        }
    }

    fn is_directory(&self) -> bool {
        self.kind() == Kind::Directory
    }
}

impl Line<'_> {
    /// Its place in a directory, where the names of directories count as if they ended in a slash.
    fn order(&self, other: &Line<'_>) -> Ordering {
        let slash = |line: &Line<'_>| line.leaf.is_directory().then_some(b'/');
        let both = self.name.len().min(other.name.len());
        let (mine, its) = (self.name.split_at(both), other.name.split_at(both));
        let rest = [(mine.1, self), (its.1, other)]
            .map(|(name, line)| name.iter().copied().chain(slash(line)));
        let [mine_left, its_left] = rest;
        (mine.0.cmp(its.0)).then_with(|| mine_left.cmp(its_left))
    }
}

impl Directory {
    /// None if the text is no tree's.
    fn of(text: Vec<u8>) -> Option<Self> {
        let mut starts = vec![0];
        let (mut at, mut last) = (0, None);
        let mut sorted = true;
        while at < text.len() {
            let (next, length) = line(&text[at..])?;
            sorted &= last.is_none_or(|last: Line<'_>| last.order(&next).is_lt());
            last = Some(next);
            at += length;
            starts.push(at);
        }
        Some(Self {
            text,
            starts,
            sorted,
        })
    }

    /// The line of a name. It is not looked for line by line: there may be thousands, and as many are asked for.
    fn named(&self, name: &[u8]) -> Option<Line<'_>> {
        let (_, starts) = self.starts.split_last()?;
        if !self.sorted {
            return self.lines().find(|line| line.name == name);
        }
        // A name has one place as a directory, and another one as anything else.
        [DIRECTORY, 0].into_iter().find_map(|mode| {
            let id = Oid::ZERO_SHA1;
            let leaf = Leaf { mode, id };
            let wanted = Line { name, leaf };
            let is_before = |from: &usize| {
                line(&self.text[*from..]).is_some_and(|(line, _)| line.order(&wanted).is_lt())
            };
            let found = self.line(starts.partition_point(is_before))?;
            (found.name == name).then_some(found)
        })
    }

    fn weight(&self) -> usize {
        self.text.len() + size_of_val(&self.starts[..])
    }

    fn line(&self, number: usize) -> Option<Line<'_>> {
        let (from, to) = (self.starts.get(number)?, self.starts.get(number + 1)?);
        line(&self.text[*from..*to]).map(|(line, _)| line)
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..).map_while(|number| self.line(number))
    }

    /// What differs between this directory and a later state of it, line by line.
    fn pairs<'t>(&'t self, later: &'t Self) -> Vec<[Option<Line<'t>>; 2]> {
        let (mut m, mut n) = (0, 0);
        let mut pairs = Vec::new();
        loop {
            let whole = self.same_lines(m, later, n);
            (m, n) = (m + whole, n + whole);
            let order = match (self.line(m), later.line(n)) {
                (None, None) => return pairs,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) => was.order(&is),
            };
            let was = self.line(m).filter(|_| order != Ordering::Greater);
            let is = later.line(n).filter(|_| order != Ordering::Less);
            (m, n) = (
                m + usize::from(was.is_some()),
                n + usize::from(is.is_some()),
            );
            pairs.push([was, is]);
        }
    }

    /// How many lines from one on are the same, byte by byte, as those of another directory from one of its lines on.
    fn same_lines(&self, from: usize, other: &Self, other_from: usize) -> usize {
        let (Some(start), Some(other_start)) =
            (self.starts.get(from), other.starts.get(other_from))
        else {
            return 0;
        };
        let same = same_bytes(&self.text[*start..], &other.text[*other_start..]);
        let ends = &self.starts[from + 1..];
        ends.partition_point(|end| end - start <= same)
    }
}

/// How many bytes two texts have in common at their beginnings.
fn same_bytes(a: &[u8], b: &[u8]) -> usize {
    const AT_ONCE: usize = 256;
    let chunks = a.chunks(AT_ONCE).zip(b.chunks(AT_ONCE));
    let whole = AT_ONCE * chunks.take_while(|(a, b)| a == b).count();
    let whole = whole.min(a.len()).min(b.len());
    let rest = a[whole..].iter().zip(&b[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}

/// The first line of a tree's text, `mode name NUL id`, and how long it is.
fn line(text: &[u8]) -> Option<(Line<'_>, usize)> {
    const ID: usize = 20;
    const MODE: usize = 7;
    let space = text.iter().take(MODE).position(|byte| *byte == b' ')?;
    let mode = text[..space].iter().try_fold(0, |mode, digit| {
        matches!(digit, b'0'..=b'7').then(|| mode * 8 + u32::from(digit - b'0'))
    })?;
    let rest = &text[space + 1..];
    let name = &rest[..rest.iter().position(|byte| *byte == 0)?];
    let id = rest[name.len() + 1..].get(..ID)?;
    let id = Oid::from_bytes(id).ok()?;
    let line = Line {
        name,
        leaf: Leaf { mode, id },
    };
    Some((line, space + 1 + name.len() + 1 + ID))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use git2::DiffOptions;
    use proptest::prelude::*;

    /// Files, links and submodules by path, few names in few directories, so that one stands where another stood.
    fn files() -> impl Strategy<Value = BTreeMap<String, (u32, u8)>> {
        let name = prop::sample::select(vec!["a", "a.b", "a0", "a-", "b"]);
        let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
        let mode = prop::sample::select(vec![0o100_644, 0o100_755, 0o120_000, 0o160_000]);
        prop::collection::btree_map(path, (mode, 0..3_u8), 0..12)
    }

    fn tree(repo: &Repository, files: &BTreeMap<String, (u32, u8)>) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, (mode, text)) in files {
            let blob = repo.blob(&[*text]).unwrap();
            let none = git2::IndexTime::new(0, 0);
            // What stands below a file, or above one, goes for it.
            index
                .add(&git2::IndexEntry {
                    ctime: none,
                    mtime: none,
                    dev: 0,
                    ino: 0,
                    mode: *mode,
                    uid: 0,
                    gid: 0,
                    file_size: 1,
                    id: blob,
                    flags: 0,
                    flags_extended: 0,
                    path: path.clone().into_bytes(),
                })
                .unwrap();
        }
        index.write_tree_to(repo).unwrap()
    }

    fn by_libgit2(repo: &Repository, old: Oid, new: Oid) -> Vec<Change> {
        let (old, new) = (repo.find_tree(old).unwrap(), repo.find_tree(new).unwrap());
        let mut options = DiffOptions::new();
        options.include_typechange(true);
        let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options));
        let side = |file: git2::DiffFile<'_>| {
            file.exists().then(|| Leaf {
                mode: file.mode().into(),
                id: file.id(),
            })
        };
        let mut changes: Vec<Change> = (diff.unwrap().deltas())
            .map(|delta| Change {
                path: delta.new_file().path_bytes().unwrap().to_owned(),
                old: side(delta.old_file()),
                new: side(delta.new_file()),
            })
            .collect();
        changes.sort();
        changes
    }

    #[test]
    fn changes_entries_and_links_are_those_that_libgit2_finds() {
        let tmp = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(tmp.path()).unwrap();
        // Nothing of it outlives the test.
        let _in_memory = repo.odb().unwrap().add_new_mempack_backend(1_000).unwrap();
        let trees = Trees::of(&repo).unwrap();
        proptest!(|(old in files(), new in files())| {
            let ids = [&old, &new].map(|files| tree(&repo, files));
            let mut changes = trees.changes(ids[0], ids[1]).unwrap();
            changes.sort();
            prop_assert_eq!(changes, by_libgit2(&repo, ids[0], ids[1]));
            let (mut links, mut files) = (BTreeMap::new(), Vec::new());
            repo.find_tree(ids[1]).unwrap().walk(git2::TreeWalkMode::PreOrder, |above, entry| {
                let path = format!("{above}{}", entry.name().unwrap());
                let id = entry.id();
                let leaf = Leaf { mode: u32::try_from(entry.filemode()).unwrap(), id };
                assert_eq!(trees.at(ids[1], Path::new(&path)).unwrap(), Some(leaf));
                for absent in [format!("{path}-"), format!("{path}0"), format!("{above}c")] {
                    let is_there = new.keys().any(|there| {
                        there.strip_prefix(&absent).is_some_and(|left| left.is_empty() || left.starts_with('/'))
                    });
                    let found = trees.at(ids[1], Path::new(&absent)).unwrap();
                    assert!(is_there || found.is_none(), "{absent}");
                }
                if entry.kind() == Some(ObjectType::Blob) {
                    files.push(PathBuf::from(&path));
                }
                if leaf.kind() == Kind::Link {
                    links.insert(PathBuf::from(path), repo.find_blob(id).unwrap().content().to_owned());
                }
                git2::TreeWalkResult::Ok
            }).unwrap();
            prop_assert_eq!(trees.links([ids[1]]).unwrap(), links);
            let mut found = trees.files(ids[1]).unwrap();
            found.sort();
            files.sort();
            prop_assert_eq!(found, files);
        });
    }

    #[test]
    fn what_was_asked_for_last_stays_and_the_rest_goes() {
        let id = |n: u8| Oid::from_bytes(&[n; 20]).unwrap();
        let mut recent = Recent::up_to(10);
        for n in 0..100 {
            recent.put(id(n), n, 1);
            assert_eq!(recent.get(id(0), |_| 1), Some(0), "after {n} others");
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.get(id(50), |_| 1), None);
        assert_eq!(recent.get(id(99), |_| 1), Some(99));
    }

    #[test]
    fn something_that_is_no_tree_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(tmp.path()).unwrap();
        let trees = Trees::of(&repo).unwrap();
        let blob = repo.blob(b"100644 a").unwrap();
        assert!(trees.read(blob).is_err());
        assert!(trees.read(Oid::ZERO_SHA1).is_err());
        for text in [&b"100644 a"[..], b"100644 a\0short", b"x a\0", b"100644\0"] {
            assert!(Directory::of(text.to_vec()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_found_also_where_lines_stand_in_no_order() {
        for names in [["a", "b", "c"], ["c", "a", "b"]] {
            let lines = names.map(|name| format!("100644 {name}\0{}", "x".repeat(20)));
            let directory = Directory::of(lines.concat().into_bytes()).unwrap();
            assert_eq!(directory.sorted, names.is_sorted());
            for name in names {
                let found = directory.named(name.as_bytes()).unwrap();
                assert_eq!(found.name, name.as_bytes());
            }
            assert!(directory.named(b"d").is_none());
        }
    }
}
