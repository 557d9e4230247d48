//! The walk: from the end record through the directory to each header, then through what is left.

use std::collections::BTreeSet;
use std::ops::Range;

use tsumugi_base::limits::ZIP_ENTRIES_MAX;

use super::records::{self, Central, END_BYTES, End, Facts, LOCAL, Local};
use super::{Archive, Entry, Fault, FaultKind, STORED};

/// General purpose flag: sizes and checksum stand behind the data, and may be zero before it.
const SIZES_BEHIND: u16 = 1 << 3;

/// Reads a whole file as a zip archive. Never fails and never panics; time and memory follow from the file's length.
pub fn walk(bytes: &[u8]) -> Archive<'_> {
    let mut walk = Walk { bytes, archive: Archive::default(), claimed: Vec::new() };
    match walk.find_end() {
        Some(end) => walk.directory(end),
        None => walk.fault(bytes.len(), FaultKind::NoEnd),
    }
    walk.inner_ends();
    walk.gaps();
    walk.archive
}

struct Walk<'a> {
    bytes: &'a [u8],
    archive: Archive<'a>,
    /// Stretches of the file that belong to something, and the name for it.
    claimed: Vec<(Range<usize>, &'a [u8])>,
}

impl<'a> Walk<'a> {
    fn fault(&mut self, offset: usize, kind: FaultKind) {
        self.archive.faults.push(Fault { offset: offset as u64, kind });
    }

    /// The last end record whose comment ends the file, else the last one.
    fn find_end(&mut self) -> Option<End> {
        let from = self.bytes.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
        let window = &self.bytes[from..];
        let places: Vec<usize> =
            window.windows(4).enumerate().filter(|(_, four)| *four == records::END).map(|(at, _)| from + at).collect();
        let ends: Vec<(usize, End)> =
            places.iter().filter_map(|&at| Some((at, records::end(self.bytes, at)?))).collect();
        let chosen = ends.iter().rfind(|(_, end)| end.end == self.bytes.len()).or(ends.last())?;
        for (at, _) in ends.iter().filter(|(at, _)| *at != chosen.0) {
            self.fault(*at, FaultKind::SecondEnd);
        }
        Some(chosen.1)
    }

    /// An end record that lies in a stored member is that of an archive in the archive: every reader that looks for
    /// one from the back finds ours first.
    fn inner_ends(&mut self) {
        let mut members: Vec<&Range<usize>> = self.archive.entries.iter().map(|entry| &entry.packed).collect();
        members.sort_by_key(|packed| packed.start);
        self.archive.faults.retain(|fault| {
            let at = fault.offset as usize;
            let before = members.partition_point(|packed| packed.start <= at);
            let is_inside = before > 0 && members[before - 1].contains(&at);
            fault.kind != FaultKind::SecondEnd || !is_inside
        });
    }

    fn directory(&mut self, end: End) {
        self.claimed.push((end.begin..end.end.min(self.bytes.len()), b""));
        if end.is_split {
            self.fault(end.begin, FaultKind::Split);
        }
        // The directory ends where the end records begin. What the record says may be less, by the bytes before the archive.
        let begin = (end.begin as u64).checked_sub(end.directory_bytes).map(|begin| begin as usize);
        let shift = begin.and_then(|begin| (begin as u64).checked_sub(end.directory)).map(|shift| shift as usize);
        let (Some(begin), Some(shift)) = (begin, shift) else {
            return self.fault(end.begin, FaultKind::NoDirectory);
        };
        if end.entries > 0 && records::central(self.bytes, begin).is_none() {
            return self.fault(end.begin, FaultKind::NoDirectory);
        }
        self.claimed.push((begin..end.begin, b""));
        let (mut at, mut found, mut names) = (begin, 0u64, BTreeSet::new());
        while let Some(central) = records::central(&self.bytes[..end.begin], at) {
            if self.archive.entries.len() == ZIP_ENTRIES_MAX {
                return self.fault(at, FaultKind::TooManyEntries { limit: ZIP_ENTRIES_MAX });
            }
            if !names.insert(central.facts.name) {
                self.fault(at, FaultKind::Duplicate { name: lossy(central.facts.name) });
            }
            self.listed(at, central, shift);
            (at, found) = (central.end, found + 1);
        }
        if found != end.entries || at != end.begin {
            self.fault(at, FaultKind::EntryCount { said: end.entries, found });
        }
    }

    /// An entry of the directory, whose record is at `at`.
    fn listed(&mut self, at: usize, central: Central<'a>, shift: usize) {
        let Central { facts, header, is_link, .. } = central;
        let place = usize::try_from(header).ok().and_then(|header| header.checked_add(shift));
        let Some((place, local)) = place.and_then(|place| Some((place, records::local(self.bytes, place)?))) else {
            return self.fault(at, FaultKind::NoHeader { name: lossy(facts.name) });
        };
        self.compare(place, facts, local);
        let packed = self.claim(place, facts, local);
        self.add(facts, place, packed, Some(is_link));
    }

    /// Keeps an entry. `is_link` is as the directory says; none of an entry that it does not have.
    fn add(&mut self, facts: Facts<'a>, header: usize, packed: Range<usize>, is_link: Option<bool>) {
        let Facts { name, flags, method, crc32, size, .. } = facts;
        if method == STORED && size != facts.packed {
            let (name, packed) = (lossy(name), facts.packed);
            self.fault(header, FaultKind::StoredSize { name, packed, size });
        }
        let (is_listed, is_link) = (is_link.is_some(), is_link.unwrap_or(false));
        self.archive.entries.push(Entry { name, method, flags, crc32, header, packed, size, is_listed, is_link });
    }

    fn compare(&mut self, place: usize, said: Facts<'_>, local: Local<'_>) {
        let found = local.facts;
        if found.name != said.name {
            let (name, local) = (lossy(said.name), lossy(found.name));
            self.fault(place, FaultKind::Name { name, local });
        }
        let may_be_zero = found.flags & SIZES_BEHIND != 0;
        let numbers = [
            ("method", said.method.into(), found.method.into(), false),
            ("flags", said.flags.into(), found.flags.into(), false),
            ("checksum", said.crc32.into(), found.crc32.into(), may_be_zero),
            ("packed size", said.packed, found.packed, may_be_zero),
            ("size", said.size, found.size, may_be_zero),
        ];
        for (field, said_number, local, may_be_zero) in numbers {
            if said_number != local && !(may_be_zero && local == 0) {
                let name = lossy(said.name);
                self.fault(place, FaultKind::Field { name, field, said: said_number, local });
            }
        }
    }

    /// Claims header, data and what stands behind it; the data's place in the file.
    fn claim(&mut self, place: usize, facts: Facts<'a>, local: Local<'_>) -> Range<usize> {
        let left = self.bytes.len() - local.data;
        let packed = usize::try_from(facts.packed).ok().filter(|&packed| packed <= left);
        if packed.is_none() {
            let (name, packed, left) = (lossy(facts.name), facts.packed, left as u64);
            self.fault(place, FaultKind::BeyondEnd { name, packed, left });
        }
        let end = local.data + packed.unwrap_or(left);
        let behind = if local.facts.flags & SIZES_BEHIND == 0 {
            0
        } else {
            records::descriptor_bytes(self.bytes, end, facts).unwrap_or(0)
        };
        self.claimed.push((place..end + behind, facts.name));
        local.data..end
    }

    /// Overlaps, and what no claim covers: hidden entries and loose bytes.
    fn gaps(&mut self) {
        self.claimed.sort_by_key(|(range, _)| (range.start, range.end));
        let mut covered = 0;
        for (range, name) in std::mem::take(&mut self.claimed) {
            if range.start > covered {
                self.gap(covered..range.start);
            } else if range.start < covered {
                self.fault(range.start, FaultKind::Overlap { name: lossy(name) });
            }
            covered = covered.max(range.end);
        }
        if covered < self.bytes.len() {
            self.gap(covered..self.bytes.len());
        }
    }

    fn gap(&mut self, gap: Range<usize>) {
        let mut at = gap.start;
        while at < gap.end {
            let next = self.next_local(at..gap.end);
            let loose_end = next.map_or(gap.end, |(place, _)| place);
            if loose_end > at {
                self.fault(at, FaultKind::Unclaimed { bytes: (loose_end - at) as u64 });
            }
            let Some((place, local)) = next else { return };
            if self.archive.entries.len() == ZIP_ENTRIES_MAX {
                return self.fault(place, FaultKind::TooManyEntries { limit: ZIP_ENTRIES_MAX });
            }
            self.fault(place, FaultKind::Hidden { name: lossy(local.facts.name) });
            let left = gap.end.saturating_sub(local.data);
            let unsaid = local.facts.packed == 0 && local.facts.flags & SIZES_BEHIND != 0;
            let packed = if unsaid {
                // Its end is the next header, or that of the gap.
                self.next_local(local.data..gap.end).map_or(left, |(next, _)| next - local.data)
            } else {
                usize::try_from(local.facts.packed).unwrap_or(left).min(left)
            };
            let end = local.data + packed;
            self.add(local.facts, place, local.data..end, None);
            let behind = records::descriptor_bytes(self.bytes, end, local.facts).filter(|_| !unsaid).unwrap_or(0);
            at = (end + behind).min(gap.end);
        }
    }

    /// The first whole local header in `range`.
    fn next_local(&self, range: Range<usize>) -> Option<(usize, Local<'a>)> {
        let mut at = range.start;
        while at < range.end {
            at += self.bytes[at..range.end].iter().position(|&byte| byte == LOCAL[0])?;
            match records::local(self.bytes, at) {
                Some(local) if local.data <= range.end => return Some((at, local)),
                _ => at += 1,
            }
        }
        None
    }
}

fn lossy(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    String::from_utf8_lossy(&name[..name.len().min(SHOWN)]).into_owned()
}
