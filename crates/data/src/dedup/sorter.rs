//! Sorting more records than fit into memory: sorted runs on the disk, merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;

/// So many runs are merged at once; more would need too many open files.
const RUNS_MAX: usize = 64;
/// What is read of a run at once.
const BUFFER_BYTES: usize = 1 << 16;

/// Takes records of `N` numbers in any order.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    folder: PathBuf,
    records: Vec<[u64; N]>,
    records_max: usize,
    runs: Vec<File>,
    threads: usize,
}

impl<const N: usize> Sorter<N> {
    /// Keeps about `memory_bytes` in memory and the rest in files without a name in `folder`.
    pub fn new(folder: &Path, memory_bytes: u64, threads: usize) -> Self {
        let records_max = usize::try_from(memory_bytes).unwrap_or(usize::MAX) / size_of::<[u64; N]>();
        let records_max = records_max.max(1024);
        Self { folder: folder.to_owned(), records: Vec::new(), records_max, runs: Vec::new(), threads: threads.max(1) }
    }

    /// Takes a record.
    pub fn push(&mut self, record: [u64; N]) -> Result<(), FileError> {
        if self.records.len() == self.records_max {
            self.spill()?;
        }
        self.records.push(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), FileError> {
        let folder = self.folder.clone();
        let failed = |source| FileError::write(&folder, source);
        let mut merge = Sorted::new(folder.clone(), std::mem::take(&mut self.records), Vec::new(), self.threads)?;
        self.runs.push(write_run(&folder, &mut merge).map_err(failed)?);
        self.records = merge.records;
        self.records.clear();
        if self.runs.len() == RUNS_MAX {
            let mut merge = Sorted::<N>::new(folder.clone(), Vec::new(), std::mem::take(&mut self.runs), 1)?;
            self.runs.push(write_run(&folder, &mut merge).map_err(failed)?);
        }
        Ok(())
    }

    /// All records in ascending order.
    pub fn sorted(self) -> Result<Sorted<N>, FileError> {
        Sorted::new(self.folder, self.records, self.runs, self.threads)
    }

    /// Calls `visit` with all records in ascending order.
    pub fn finish<E: From<FileError>>(self, mut visit: impl FnMut([u64; N]) -> Result<(), E>) -> Result<(), E> {
        for record in self.sorted()? {
            visit(record?)?;
        }
        Ok(())
    }

    /// Calls `visit` with each group of records that have the same first `K` numbers, in ascending order.
    pub fn finish_groups<const K: usize, E: From<FileError>>(
        self,
        mut visit: impl FnMut(&[[u64; N]]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut group: Vec<[u64; N]> = Vec::new();
        self.finish::<E>(|record| {
            if group.first().is_some_and(|first| first[..K] != record[..K]) {
                visit(&group)?;
                group.clear();
            }
            group.push(record);
            Ok(())
        })?;
        if group.is_empty() { Ok(()) } else { visit(&group) }
    }
}

/// Sorts parts of the records, one on each thread; gives the size of a part.
fn sort_parts<const N: usize>(records: &mut [[u64; N]], threads: usize) -> usize {
    let size = records.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for part in records.chunks_mut(size) {
            scope.spawn(|| part.sort_unstable());
        }
    });
    size
}

fn write_run<const N: usize>(folder: &Path, records: &mut Sorted<N>) -> io::Result<File> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile_in(folder)?);
    while let Some(record) = records.advance()? {
        for number in record {
            writer.write_all(&number.to_le_bytes())?;
        }
    }
    let mut file = writer.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// Sorted records, wherever they are.
#[derive(Debug)]
enum Run {
    Memory(Range<usize>),
    File(BufReader<File>),
}

/// Sorted runs as one.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    folder: PathBuf,
    records: Vec<[u64; N]>,
    runs: Vec<Run>,
    /// The next record of each run that has one, and the run.
    heads: BinaryHeap<Reverse<([u64; N], usize)>>,
}

impl<const N: usize> Sorted<N> {
    fn new(folder: PathBuf, mut records: Vec<[u64; N]>, files: Vec<File>, threads: usize) -> Result<Self, FileError> {
        let size = sort_parts(&mut records, threads);
        let on_disk = files.into_iter().map(|file| Run::File(BufReader::with_capacity(BUFFER_BYTES, file)));
        let starts = (0..records.len()).step_by(size);
        let in_memory = starts.map(|start| Run::Memory(start..records.len().min(start + size)));
        let runs: Vec<Run> = on_disk.chain(in_memory).collect();
        let mut sorted = Self { folder, records, runs, heads: BinaryHeap::new() };
        for run in 0..sorted.runs.len() {
            let head = sorted.read(run).map_err(|source| FileError::read(&sorted.folder, source))?;
            sorted.heads.extend(head.map(|record| Reverse((record, run))));
        }
        Ok(sorted)
    }

    fn advance(&mut self) -> io::Result<Option<[u64; N]>> {
        let Some(&Reverse((record, run))) = self.heads.peek() else { return Ok(None) };
        let next = self.read(run)?;
        let mut head = self.heads.peek_mut().expect("it was looked at");
        match next {
            Some(next) => head.0.0 = next,
            None => drop(PeekMut::pop(head)),
        }
        Ok(Some(record))
    }

    /// The next record of a run.
    fn read(&mut self, run: usize) -> io::Result<Option<[u64; N]>> {
        match &mut self.runs[run] {
            Run::Memory(places) => Ok(places.next().map(|place| self.records[place])),
            Run::File(file) => {
                let mut record = [0; N];
                for number in &mut record {
                    let mut bytes = [0; 8];
                    match file.read_exact(&mut bytes) {
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                        result => result?,
                    }
                    *number = u64::from_le_bytes(bytes);
                }
                Ok(Some(record))
            }
        }
    }
}

impl<const N: usize> Iterator for Sorted<N> {
    type Item = Result<[u64; N], FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map_err(|source| FileError::read(&self.folder, source)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::rng::Key;

    #[test]
    fn records_are_sorted_wherever_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::from_seed(1);
        for (count, threads) in [(0, 2), (1, 1), (1000, 3), (200_000, 2)] {
            let records: Vec<[u64; 2]> = (0..count).map(|index| [key.below(index, 5000), key.bits(index)]).collect();
            let mut sorter = Sorter::new(folder.path(), 0, threads);
            records.iter().for_each(|record| sorter.push(*record).unwrap());
            assert_eq!(sorter.runs.is_empty(), count <= 1024);
            let sorted: Vec<_> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            let mut expected = records;
            expected.sort_unstable();
            assert!(sorted == expected, "{count} records");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "spilled files have no name");
    }

    #[test]
    fn groups_have_the_same_first_numbers() {
        let mut sorter = Sorter::new(Path::new("."), 0, 1);
        [[2, 1], [1, 9], [2, 0], [3, 3]].into_iter().for_each(|record| sorter.push(record).unwrap());
        let mut groups = Vec::new();
        let keep = |group: &[[u64; 2]]| {
            groups.push(group.to_vec());
            Ok::<_, FileError>(())
        };
        sorter.finish_groups::<1, _>(keep).unwrap();
        assert_eq!(groups, [vec![[1, 9]], vec![[2, 0], [2, 1]], vec![[3, 3]]]);
    }
}
