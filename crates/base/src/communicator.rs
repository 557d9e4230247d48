//! Several processes that work on one job: what a rank must know of the others. One process is the default; engines that
//! clusters run (MPI) stand behind the same trait.

/// The ranks of a job. Every rank calls the same collective operations in the same order.
pub trait Communicator: Send + Sync {
    /// Which one we are, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// Returns when every rank has come here.
    fn barrier(&self) {
        self.gather(Vec::new());
    }

    /// Gives every rank the bytes of all, by rank.
    fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let everyone = vec![bytes; self.size()];
        self.exchange(everyone)
    }

    /// Sends `parts[r]` to rank `r`; gives what the ranks sent here, by rank.
    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>>;
}

/// One process alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, parts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_one_hears_oneself() {
        Alone.barrier();
        assert_eq!((Alone.rank(), Alone.size(), Alone.gather(vec![7])), (0, 1, vec![vec![7]]));
    }
}
