//! What can still be read of a damaged ledger: its pages are looked at one by one, without SQLite, which gives up on the
//! first that is wrong.
//!
//! Only the two tables that hold facts are read, `records` and `runs`; everything else follows from records. A row counts
//! if it has the shape of its table and says something that parses: on a damaged page anything may stand. Committed
//! pages of a write-ahead log count before those of the main file. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::{FileError, read_limited};
use super::ledger::NewRun;
use super::ledger_file::log_of;
use crate::engine::record::Record;
use crate::ids::{PlanId, RefName, RunId};
use crate::time::Wall;

/// The page size of SQLite, which orch never changes; for a file whose first page is gone.
const PAGE_BYTES: usize = 4096;
/// Largest file that is read: a ledger of some million records.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Longest chain of overflow pages that is followed: 64 MiB, more than any record.
const OVERFLOW_PAGES_MAX: usize = (64 << 20) / PAGE_BYTES;

/// Most records at the end of a ledger that are believed to be missing.
const MISSING_MAX: u64 = 1 << 20;

/// The first bytes of a database file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The first four bytes of a write-ahead log, but for the lowest bit, which tells the byte order of its checksums.
const LOG_MAGIC: u32 = 0x377f_0682;

/// The rows that could be read.
#[derive(Debug, Clone, Default)]
pub struct Fragments {
    /// Records by their place.
    pub records: BTreeMap<u64, Fragment>,
    /// What identifies runs, and when they began.
    pub runs: BTreeMap<RunId, (NewRun, Wall)>,
    /// The newest place that was ever given away, if the ledger still tells.
    pub last_seq: Option<u64>,
}

/// A record as it stood in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Wall,
    /// Its text, byte for byte.
    pub body: String,
    /// What the text says.
    pub record: Record,
}

impl Fragments {
    /// Reads what the file `ledger` and its write-ahead log still tell; a file that is not there tells nothing.
    ///
    /// # Errors
    /// If a file is there and cannot be read at all.
    pub fn read(ledger: &Path) -> Result<Self, FileError> {
        let main = bytes_of(ledger)?;
        let log = bytes_of(&log_of(ledger))?;
        Ok(Self::of(&Pages::new(&main, &log)))
    }

    fn of(pages: &Pages<'_>) -> Self {
        let mut found = Self::default();
        for number in 1..=pages.count {
            let Some(page) = pages.get(number) else {
                continue;
            };
            for payload in cells(pages, number, page) {
                found.take(&payload);
            }
        }
        found
    }

    /// Keeps a row if it is one of the three that matter. Each has a shape that no other table shares.
    fn take(&mut self, cell: &Cell) {
        let Some(row) = values(&cell.payload) else {
            return;
        };
        match (cell.rowid, row.as_slice()) {
            (
                Some(seq),
                [
                    Value::Null,
                    Value::Text(run),
                    Value::Integer(at),
                    Value::Text(body),
                ],
            ) => {
                let record = serde_json::from_str(body);
                if let (Ok(run), Ok(record)) = (RunId::parse(run), record) {
                    let fragment = Fragment {
                        run,
                        at: Wall(*at),
                        body: body.clone(),
                        record,
                    };
                    self.records.entry(seq).or_insert(fragment);
                }
            }
            (Some(_), [Value::Text(table), Value::Integer(last)]) if table == "records" => {
                let last = u64::try_from(*last).ok();
                self.last_seq = self.last_seq.max(last);
            }
            (
                None,
                [
                    Value::Text(run),
                    Value::Text(plan_id),
                    Value::Text(plan_path),
                    Value::Text(target),
                    Value::Text(repository),
                    Value::Integer(started),
                    _,
                    _,
                ],
            ) => {
                let Ok(run) = RunId::parse(run) else { return };
                let new = NewRun {
                    run: run.clone(),
                    plan_id: PlanId::from_path(Path::new(plan_id)),
                    plan_path: plan_path.clone(),
                    target: RefName::new(target.as_str()),
                    repository: repository.clone(),
                };
                self.runs.insert(run, (new, Wall(*started)));
            }
            _ => {}
        }
    }

    /// Takes over what another file tells and this one does not.
    pub fn add(&mut self, other: Self) {
        for (seq, fragment) in other.records {
            self.records.entry(seq).or_insert(fragment);
        }
        for (run, row) in other.runs {
            self.runs.entry(run).or_insert(row);
        }
        self.last_seq = self.last_seq.max(other.last_seq);
    }

    /// Places up to the last one of which nothing could be read.
    pub fn missing(&self) -> BTreeSet<u64> {
        let newest = self.records.keys().next_back().copied();
        let last = newest.max(self.end()).unwrap_or(0);
        (1..=last)
            .filter(|seq| !self.records.contains_key(seq))
            .collect()
    }

    /// The place of the last record, if that is known. A number far beyond all that was read is no number.
    pub fn end(&self) -> Option<u64> {
        let newest = self.records.keys().next_back().copied().unwrap_or(0);
        self.last_seq
            .filter(|last| *last >= newest && last - newest <= MISSING_MAX)
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, FileError> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => read_limited(path, FILE_BYTES_MAX),
    }
}

/// The pages of a database as the last commit left them.
struct Pages<'a> {
    main: &'a [u8],
    /// Where pages of the log lie in it.
    logged: BTreeMap<u32, &'a [u8]>,
    size: usize,
    usable: usize,
    count: u32,
}

impl<'a> Pages<'a> {
    fn new(main: &'a [u8], log: &'a [u8]) -> Self {
        let size = page_size(main).or_else(|| log_page_size(log));
        let size = size.unwrap_or(PAGE_BYTES);
        let reserved = match main.starts_with(MAGIC) {
            true => main.get(20).copied().unwrap_or(0),
            false => 0,
        };
        let logged = committed(log, size);
        let in_main = u32::try_from(main.len().div_ceil(size)).unwrap_or(u32::MAX);
        let in_log = logged.keys().next_back().copied().unwrap_or(0);
        Self {
            main,
            logged,
            size,
            usable: size.saturating_sub(usize::from(reserved)),
            count: in_main.max(in_log),
        }
    }

    fn get(&self, number: u32) -> Option<&'a [u8]> {
        if let Some(page) = self.logged.get(&number) {
            return Some(page);
        }
        let start = self.size.checked_mul(number.checked_sub(1)? as usize)?;
        self.main.get(start..start + self.size)
    }
}

fn page_size(main: &[u8]) -> Option<usize> {
    let size = usize::from(u16::from_be_bytes(main.get(16..18)?.try_into().ok()?));
    let size = if size == 1 { 65536 } else { size };
    (main.starts_with(MAGIC) && is_page_size(size)).then_some(size)
}

fn log_page_size(log: &[u8]) -> Option<usize> {
    let size = word(log, 8)? as usize;
    (word(log, 0)? & !1 == LOG_MAGIC && is_page_size(size)).then_some(size)
}

fn is_page_size(size: usize) -> bool {
    size.is_power_of_two() && (512..=65536).contains(&size)
}

/// The newest committed page of each number in a write-ahead log, up to the first frame that is not whole
/// (sqlite.org/fileformat2.html, section 4).
fn committed(log: &[u8], size: usize) -> BTreeMap<u32, &[u8]> {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let mut pages = BTreeMap::new();
    let (Some(magic), Some(salts)) = (word(log, 0), log.get(16..24)) else {
        return pages;
    };
    if magic & !1 != LOG_MAGIC || log_page_size(log) != Some(size) {
        return pages;
    }
    let is_big_endian = magic & 1 == 1;
    let mut sum = checksum(&log[..24], (0, 0), is_big_endian);
    let mut pending = Vec::new();
    let mut at = HEADER;
    while let Some(frame) = log.get(at..at + FRAME_HEADER + size) {
        let (header, page) = frame.split_at(FRAME_HEADER);
        sum = checksum(&header[..8], sum, is_big_endian);
        sum = checksum(page, sum, is_big_endian);
        let is_whole = header.get(8..16) == Some(salts)
            && (word(header, 16), word(header, 20)) == (Some(sum.0), Some(sum.1));
        let (true, Some(number), Some(commit)) = (is_whole, word(header, 0), word(header, 4))
        else {
            break;
        };
        pending.push((number, page));
        if commit != 0 {
            pages.extend(pending.drain(..));
        }
        at += FRAME_HEADER + size;
    }
    pages
}

fn checksum(bytes: &[u8], start: (u32, u32), is_big_endian: bool) -> (u32, u32) {
    let word = |at: &[u8]| {
        let four = [at[0], at[1], at[2], at[3]];
        match is_big_endian {
            true => u32::from_be_bytes(four),
            false => u32::from_le_bytes(four),
        }
    };
    bytes.chunks_exact(8).fold(start, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        let b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
        (a, b)
    })
}

/// The content of a row.
struct Cell {
    /// Of tables that have one.
    rowid: Option<u64>,
    payload: Vec<u8>,
}

/// The rows of a page of a table, or of a table that is its own index (`WITHOUT ROWID`).
fn cells(pages: &Pages<'_>, number: u32, page: &[u8]) -> Vec<Cell> {
    let header = if number == 1 { 100 } else { 0 };
    let Some(&kind) = page.get(header) else {
        return Vec::new();
    };
    // Where the cell pointers begin, and what stands in a cell before its payload.
    let (pointers, child) = match kind {
        0x0d | 0x0a => (header + 8, 0),
        0x02 => (header + 12, 4),
        _ => return Vec::new(),
    };
    let is_table = kind == 0x0d;
    let count = half(page, header + 3).unwrap_or(0);
    let cells = (0..usize::from(count)).filter_map(|n| {
        let at = usize::from(half(page, pointers + 2 * n)?) + child;
        let (length, used) = varint(page, at)?;
        let mut at = at + used;
        let mut rowid = None;
        if is_table {
            let (id, used) = varint(page, at)?;
            rowid = Some(id);
            at += used;
        }
        let payload = payload(pages, page, at, usize::try_from(length).ok()?, is_table)?;
        Some(Cell { rowid, payload })
    });
    cells.collect()
}

/// A row's bytes, the part on overflow pages included.
fn payload(
    pages: &Pages<'_>,
    page: &[u8],
    at: usize,
    length: usize,
    is_table: bool,
) -> Option<Vec<u8>> {
    let usable = pages.usable;
    let least = usable.checked_sub(12)? * 32 / 255 - 23;
    let most = match is_table {
        true => usable - 35,
        false => (usable - 12) * 64 / 255 - 23,
    };
    if length <= most {
        return page.get(at..at.checked_add(length)?).map(<[u8]>::to_vec);
    }
    let here = least + (length - least) % (usable - 4);
    let here = if here <= most { here } else { least };
    let mut whole = page.get(at..at + here)?.to_vec();
    let mut next = word(page, at + here)?;
    for _ in 0..OVERFLOW_PAGES_MAX {
        let missing = length - whole.len();
        if missing == 0 {
            return Some(whole);
        }
        let page = pages.get(next)?;
        next = word(page, 0)?;
        whole.extend_from_slice(page.get(4..4 + missing.min(usable - 4))?);
    }
    None
}

/// A value of a row, as far as the ledger has such.
#[derive(Debug, PartialEq)]
enum Value {
    Null,
    Integer(i64),
    Text(String),
}

/// The values of a row; none if one of them is nothing that a ledger holds.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let (kind, used) = varint(payload, at)?;
        at += used;
        let (value, length) = match kind {
            0 => (Value::Null, 0),
            8 | 9 => (Value::Integer(i64::try_from(kind).ok()? - 8), 0),
            1..=6 => {
                let length = [0, 1, 2, 3, 4, 6, 8][usize::try_from(kind).ok()?];
                let bytes = payload.get(body..body + length)?;
                let sign = if bytes[0] & 0x80 == 0 { 0_i64 } else { -1 };
                let number = bytes.iter().fold(sign, |n, &b| (n << 8) | i64::from(b));
                (Value::Integer(number), length)
            }
            13.. if kind % 2 == 1 => {
                let length = usize::try_from((kind - 13) / 2).ok()?;
                let bytes = payload.get(body..body.checked_add(length)?)?;
                let text = std::str::from_utf8(bytes).ok()?;
                (Value::Text(text.to_owned()), length)
            }
            _ => return None,
        };
        body += length;
        values.push(value);
    }
    (body == payload.len()).then_some(values)
}

/// A number of one to nine bytes, and how many.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for used in 0..8 {
        let byte = *bytes.get(at.checked_add(used)?)?;
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, used + 1));
        }
    }
    let last = *bytes.get(at.checked_add(8)?)?;
    Some(((number << 8) | u64::from(last), 9))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}
