//! Counter-based random numbers: a number is a pure function of a key and a counter, so element 7 of step 100 is the
//! same whichever thread asks for it, and a resumed run needs no generator state.
//!
//! Generator: Philox4x32-10, Salmon, Moraes, Dror, Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC'11),
//! section 3.3; constants and known answers from the authors' Random123 library (`kat_vectors`). It passes BigCrush.
//! Permutations: a Feistel network with cycle walking, Black and Rogaway 2002, "Ciphers with Arbitrary Finite
//! Domains" (CT-RSA), section 4.

/// Round multipliers and key increments of Philox4x32 (Random123 `philox.h`).
const MULTIPLIER_0: u32 = 0xD251_1F53;
const MULTIPLIER_1: u32 = 0xCD9E_8D57;
/// The golden ratio.
const WEYL_0: u32 = 0x9E37_79B9;
/// The square root of 3, less 1.
const WEYL_1: u32 = 0xBB67_AE85;

/// The Philox4x32-10 bijection of `counter` under `key`.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL_0), key[1].wrapping_add(WEYL_1)];
        }
        let product_0 = u64::from(MULTIPLIER_0) * u64::from(counter[0]);
        let product_1 = u64::from(MULTIPLIER_1) * u64::from(counter[2]);
        counter = [
            (product_1 >> 32) as u32 ^ counter[1] ^ key[0],
            product_1 as u32,
            (product_0 >> 32) as u32 ^ counter[3] ^ key[1],
            product_0 as u32,
        ];
    }
    counter
}

/// What a block is for: the upper 64 bits of the counter. Numbers, child keys and seeds never share a block.
const FOR_NUMBERS: u64 = 0;
const FOR_CHILD_KEYS: u64 = 1;
const FOR_SEEDS: u64 = 2;

/// Names an endless row of random numbers, indexed by a counter. Copy it freely: it has no state.
///
/// ```
/// use tsumugi_base::rng::Key;
/// let dropout = Key::from_seed(1337).derive(&[3, 100]); // layer 3, step 100
/// assert_eq!(dropout.bits(7), dropout.bits(7));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The key of a seed that a user gave.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed).child(0, FOR_SEEDS)
    }

    /// The key that `words` name below this one: layer, step, purpose.
    /// `derive(&[a, b])` is `derive(&[a]).derive(&[b])`, and `derive(&[])` is the key itself.
    pub fn derive(self, words: &[u64]) -> Self {
        words.iter().fold(self, |key, &word| key.child(word, FOR_CHILD_KEYS))
    }

    /// The four 32-bit words of block `counter`; the other methods are made from these.
    #[inline]
    pub fn block(self, counter: u64) -> [u32; 4] {
        self.raw_block(counter, FOR_NUMBERS)
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(self, counter: u64) -> u64 {
        let [a, b, _, _] = self.block(counter);
        u64::from(b) << 32 | u64::from(a)
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    #[inline]
    pub fn uniform(self, counter: u64) -> f32 {
        unit_f32(self.bits(counter))
    }

    /// A number of the standard normal distribution (Box and Muller 1958, computed in double precision).
    pub fn normal(self, counter: u64) -> f32 {
        let [a, b, c, d] = self.block(counter);
        let magnitude_bits = u64::from(b) << 32 | u64::from(a);
        let angle_bits = u64::from(d) << 32 | u64::from(c);
        // 53 bits in (0, 1], so that the logarithm is finite.
        let magnitude = ((magnitude_bits >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
        let angle = (angle_bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        ((-2.0 * magnitude.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// An integer in `0..n` (multiply-shift; the bias is below `n / 2^64`).
    ///
    /// # Panics
    /// If `n` is 0: there is no such integer.
    pub fn below(self, counter: u64, n: u64) -> u64 {
        scale_to(self.bits(counter), n)
    }

    fn child(self, word: u64, purpose: u64) -> Self {
        let [a, b, _, _] = self.raw_block(word, purpose);
        Self(u64::from(b) << 32 | u64::from(a))
    }

    #[inline]
    fn raw_block(self, low: u64, high: u64) -> [u32; 4] {
        philox4x32(
            [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32],
            [self.0 as u32, (self.0 >> 32) as u32],
        )
    }
}

#[inline]
fn unit_f32(bits: u64) -> f32 {
    (bits >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
}

fn scale_to(bits: u64, n: u64) -> u64 {
    assert!(n > 0, "there is no integer below 0");
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// The numbers of a [`Key`] one after another. The position is its whole state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    key: Key,
    position: u64,
}

impl Stream {
    /// From the first number of `key`.
    pub fn new(key: Key) -> Self {
        Self::at(key, 0)
    }

    /// From number `position` of `key`: how a resumed run goes on.
    pub fn at(key: Key, position: u64) -> Self {
        Self { key, position }
    }

    /// How many numbers were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.key.bits(self.advance())
    }

    /// A number in `[0, 1)`.
    pub fn next_f32(&mut self) -> f32 {
        self.key.uniform(self.advance())
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number of the standard normal distribution.
    pub fn next_normal(&mut self) -> f32 {
        self.key.normal(self.advance())
    }

    /// An integer in `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.key.below(self.advance(), n)
    }

    /// Puts `items` into a random order (Fisher and Yates, Durstenfeld's form).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }

    fn advance(&mut self) -> u64 {
        let at = self.position;
        self.position = self.position.wrapping_add(1);
        at
    }
}

/// Up to here a permutation is a shuffled table, which is uniform; a Feistel network of so few bits is not.
const TABLE_LEN_MAX: u64 = 256;

/// Luby and Rackoff need 4 rounds; 8 because the halves are small.
const FEISTEL_ROUNDS: u64 = 8;

/// A random order of `0..n` that is computed, not stored: where shuffled document 10^9 lies costs no memory.
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    kind: PermutationKind,
}

#[derive(Debug, Clone)]
enum PermutationKind {
    Table(Vec<u16>),
    Feistel { key: Key, left_bits: u32, right_bits: u32 },
}

impl Permutation {
    /// The order of `0..len` under `key`.
    pub fn new(key: Key, len: u64) -> Self {
        let kind = if len <= TABLE_LEN_MAX {
            let mut table: Vec<u16> = (0..len as u16).collect();
            Stream::new(key).shuffle(&mut table);
            PermutationKind::Table(table)
        } else {
            let bits = u64::BITS - (len - 1).leading_zeros();
            PermutationKind::Feistel { key, left_bits: bits / 2, right_bits: bits - bits / 2 }
        };
        Self { len, kind }
    }

    /// How many are ordered.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to order.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What stands at place `i`.
    ///
    /// # Panics
    /// If `i` is not below the length.
    pub fn get(&self, i: u64) -> u64 {
        assert!(i < self.len, "place {i} of a permutation of {}", self.len);
        match &self.kind {
            PermutationKind::Table(table) => u64::from(table[i as usize]),
            PermutationKind::Feistel { key, left_bits, right_bits } => {
                // Walk the cycle until it is back inside: the network covers less than 2 n, so 2 steps on average.
                let mut value = i;
                loop {
                    value = feistel(*key, value, *left_bits, *right_bits);
                    if value < self.len {
                        return value;
                    }
                }
            }
        }
    }
}

/// One bijection of `0 .. 2^(left_bits + right_bits)`: each round changes one half by a function of the other.
fn feistel(key: Key, value: u64, left_bits: u32, right_bits: u32) -> u64 {
    let (left_mask, right_mask) = ((1u64 << left_bits) - 1, (1u64 << right_bits) - 1);
    let mut left = value >> right_bits & left_mask;
    let mut right = value & right_mask;
    for round in 0..FEISTEL_ROUNDS {
        // A half has at most 32 bits, so round and half share a counter.
        if round % 2 == 0 {
            left ^= key.bits(round << 32 | right) & left_mask;
        } else {
            right ^= key.bits(round << 32 | left) & right_mask;
        }
    }
    left << right_bits | right
}

#[cfg(test)]
#[path = "rng_tests.rs"]
mod tests;
