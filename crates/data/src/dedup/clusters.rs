//! Clusters: what is alike, or alike to something that is alike. Union-find over documents, fed pair by pair.

/// Sets of documents, each named by its first document: the same whatever the order of the pairs.
#[derive(Debug, Clone)]
pub struct Clusters {
    parents: Vec<u32>,
}

/// Documents that can be told apart.
pub const DOCUMENTS_MAX: u64 = u32::MAX as u64;

impl Clusters {
    /// Every document alone.
    ///
    /// # Panics
    /// There are more than [`DOCUMENTS_MAX`].
    pub fn new(documents: u64) -> Self {
        assert!(documents <= DOCUMENTS_MAX, "{documents} documents");
        Self { parents: (0..documents as u32).collect() }
    }

    /// The first document of the cluster.
    pub fn first(&mut self, mut document: u32) -> u32 {
        loop {
            let parent = self.parents[document as usize];
            if parent == document {
                return document;
            }
            // Halving the path keeps later searches short.
            let above = self.parents[parent as usize];
            self.parents[document as usize] = above;
            document = above;
        }
    }

    /// These two are alike.
    pub fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.first(one), self.first(other));
        self.parents[one.max(other) as usize] = one.min(other);
    }

    /// What is to be told about each cluster, before anything is.
    pub fn survivors(&self) -> Survivors {
        let documents = self.parents.len();
        Survivors {
            sizes: vec![0; documents],
            best: (0..documents as u32).collect(),
            worths: Vec::with_capacity(documents),
        }
    }
}

/// How large each cluster is and which of it stays, at the place of its first document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivors {
    /// How many documents it has.
    pub sizes: Vec<u32>,
    /// The one that stays.
    pub best: Vec<u32>,
    /// What the best is worth.
    worths: Vec<u64>,
}

impl Survivors {
    /// What the next document is worth. Of equals the first stays.
    pub fn push(&mut self, clusters: &mut Clusters, worth: u64) {
        let document = self.worths.len() as u32;
        let first = clusters.first(document) as usize;
        self.worths.push(worth);
        self.sizes[first] += 1;
        if worth > self.worths[first] {
            self.worths[first] = worth;
            self.best[first] = document;
        }
    }
}

/// Memory that [`Clusters`] and [`Survivors`] take for a document.
pub const BYTES_PER_DOCUMENT: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::rng::Key;
    use tsumugi_base::rng::Stream;

    #[test]
    fn clusters_are_the_connected_components() {
        let mut stream = Stream::new(Key::from_seed(5));
        for documents in 1..40 {
            let pairs: Vec<(u32, u32)> =
                (0..documents / 2).map(|_| (stream.below(documents) as u32, stream.below(documents) as u32)).collect();
            // Reference: the smallest label wanders along the pairs until nothing changes.
            let mut labels: Vec<u32> = (0..documents as u32).collect();
            for _ in 0..documents {
                for &(one, other) in &pairs {
                    let least = labels[one as usize].min(labels[other as usize]);
                    (labels[one as usize], labels[other as usize]) = (least, least);
                }
            }
            for pairs in [pairs.clone(), pairs.into_iter().rev().collect()] {
                let mut clusters = Clusters::new(documents);
                pairs.into_iter().for_each(|(one, other)| clusters.join(one, other));
                let found: Vec<u32> = (0..documents as u32).map(|document| clusters.first(document)).collect();
                assert_eq!(found, labels);
            }
        }
    }

    #[test]
    fn the_best_of_a_cluster_stays_and_of_equals_the_first() {
        let mut clusters = Clusters::new(5);
        clusters.join(4, 1);
        clusters.join(3, 1);
        let survivors = |clusters: &mut Clusters, worths: [u64; 5]| {
            let mut survivors = clusters.survivors();
            worths.into_iter().for_each(|worth| survivors.push(clusters, worth));
            survivors
        };
        let found = survivors(&mut clusters, [9, 2, 1, 7, 7]);
        assert_eq!((found.sizes[1], found.best[1]), (3, 3));
        assert_eq!((found.sizes[0], found.best[0]), (1, 0));
        assert_eq!(survivors(&mut clusters, [0; 5]).best[1], 1);
    }
}
