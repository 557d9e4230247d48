//! Records from every rank to every rank, in rounds: however many there are, what is under way at a time is bounded.

use tsumugi_base::communicator::Communicator;

use super::CorpusError;
use super::workers::agree;

/// The most bytes that a rank sends in a round, and receives.
const ROUND_BYTES: usize = 8 << 20;

/// What a rank says of itself in each round, before its records.
const GOES_ON: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

/// Every rank sends records of `N` numbers and takes those that are meant for it, in any order. Returns on all ranks when
/// the last record is taken; what fails on one of them fails on all.
pub fn exchange<const N: usize>(
    ranks: &dyn Communicator,
    send: impl FnOnce(&mut Outbox<'_, N>) -> Result<(), CorpusError>,
    mut take: impl FnMut([u64; N]) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    exchange_in_rounds(ranks, ROUND_BYTES, send, &mut take)
}

fn exchange_in_rounds<const N: usize>(
    ranks: &dyn Communicator,
    round_bytes: usize,
    send: impl FnOnce(&mut Outbox<'_, N>) -> Result<(), CorpusError>,
    take: &mut dyn FnMut([u64; N]) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let part_bytes = round_bytes / ranks.size();
    let mut outbox = Outbox { ranks, part_bytes, parts: empty_parts(ranks.size()), take, is_open: true };
    let mut result = send(&mut outbox);
    while outbox.is_open {
        let heard = outbox.round(if result.is_ok() { DONE } else { FAILED });
        result = result.and(heard);
    }
    agree(ranks, result)
}

fn empty_parts(ranks: usize) -> Vec<Vec<u8>> {
    vec![vec![GOES_ON]; ranks]
}

/// Where a rank puts its records.
pub struct Outbox<'a, const N: usize> {
    ranks: &'a dyn Communicator,
    part_bytes: usize,
    /// For each rank a byte that says how it stands here, then records.
    parts: Vec<Vec<u8>>,
    take: &'a mut dyn FnMut([u64; N]) -> Result<(), CorpusError>,
    /// Whether there will be another round: the same answer on all ranks.
    is_open: bool,
}

impl<const N: usize> Outbox<'_, N> {
    /// Sends a record to rank `to`. An error is to be passed on by whoever sends.
    pub fn push(&mut self, to: usize, record: [u64; N]) -> Result<(), CorpusError> {
        if to == self.ranks.rank() {
            return (self.take)(record);
        }
        let part = &mut self.parts[to];
        part.extend(record.iter().flat_map(|number| number.to_le_bytes()));
        if part.len() < self.part_bytes { Ok(()) } else { self.round(GOES_ON) }
    }

    /// Sends what is there, and takes what comes.
    fn round(&mut self, state: u8) -> Result<(), CorpusError> {
        assert!(self.is_open, "nothing is sent after an error");
        let mut parts = std::mem::replace(&mut self.parts, empty_parts(self.ranks.size()));
        parts.iter_mut().for_each(|part| part[0] = state);
        let received = self.ranks.exchange(parts);
        let states: Vec<u8> = received.iter().map(|part| part[0]).collect();
        let failed = states.iter().position(|&state| state == FAILED);
        self.is_open = failed.is_none() && states.contains(&GOES_ON);
        if let Some(rank) = failed {
            return Err(CorpusError::OtherRank { rank });
        }
        for part in received {
            let (numbers, _) = part[1..].as_chunks();
            for record in numbers.as_chunks::<N>().0 {
                (self.take)(record.map(u64::from_le_bytes))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::Path;
    use tsumugi_base::FileError;
    use tsumugi_base::communicator::Alone;
    use tsumugi_base::testing::ranks;

    /// What `from` sends: so many records to each rank, none by some.
    fn records(from: usize, size: usize) -> Vec<(usize, [u64; 2])> {
        let count = |to: usize| (from * 37 + to * 11) % 90 * usize::from(from != 1);
        (0..size)
            .flat_map(|to| (0..count(to)).map(move |index| (to, [(from * 100 + to) as u64, index as u64])))
            .collect()
    }

    fn failure() -> CorpusError {
        FileError::read(Path::new("a"), io::ErrorKind::Other.into()).into()
    }

    #[test]
    fn every_record_comes_to_the_rank_that_it_is_for() {
        for size in 1..=4 {
            // From a record in each round to all in one.
            for round_bytes in [1, 64, 200, 1000, 1 << 20] {
                let received = ranks(size, |ranks| {
                    let mut received = Vec::new();
                    let send = |outbox: &mut Outbox<'_, 2>| {
                        let mine = records(ranks.rank(), size);
                        mine.into_iter().try_for_each(|(to, record)| outbox.push(to, record))
                    };
                    exchange_in_rounds(ranks, round_bytes, send, &mut |record| {
                        received.push(record);
                        Ok(())
                    })
                    .unwrap();
                    received.sort_unstable();
                    received
                });
                for (to, received) in received.into_iter().enumerate() {
                    let sent = (0..size).flat_map(|from| records(from, size));
                    let mut expected: Vec<_> = sent.filter(|sent| sent.0 == to).map(|sent| sent.1).collect();
                    expected.sort_unstable();
                    assert!(received == expected, "rank {to} of {size}, rounds of {round_bytes} bytes");
                }
            }
        }
    }

    /// Whoever fails, when it sends or takes, early or late: all end, and only its own message is not of another rank.
    #[test]
    fn what_fails_on_a_rank_fails_on_all() {
        for (after, in_take) in [(0, false), (30, false), (0, true), (30, true), (89, true)] {
            for round_bytes in [1, 300, 1 << 20] {
                let results = ranks(3, |ranks| {
                    let is_bad = ranks.rank() == 2;
                    let (mut sent, mut taken) = (0, 0);
                    let send = |outbox: &mut Outbox<'_, 1>| {
                        for to in 0..3 {
                            for _ in 0..30 {
                                if is_bad && !in_take && sent == after {
                                    return Err(failure());
                                }
                                sent += 1;
                                outbox.push(to, [0])?;
                            }
                        }
                        Ok(())
                    };
                    let mut take = |_| {
                        taken += 1;
                        if is_bad && in_take && taken == after + 1 { Err(failure()) } else { Ok(()) }
                    };
                    exchange_in_rounds(ranks, round_bytes, send, &mut take)
                });
                let is_other = |rank: usize| matches!(results[rank], Err(CorpusError::OtherRank { rank: 2 }));
                assert!(is_other(0) && is_other(1), "{results:?}");
                assert!(matches!(results[2], Err(CorpusError::File(_))), "{results:?}");
            }
        }
    }

    #[test]
    fn alone_a_record_goes_no_way() {
        let mut received = Vec::new();
        let take = |record| {
            received.push(record);
            Ok(())
        };
        exchange(&Alone, |outbox| (0..5).try_for_each(|number| outbox.push(0, [number])), take).unwrap();
        assert_eq!(received, [[0], [1], [2], [3], [4]]);
    }
}
