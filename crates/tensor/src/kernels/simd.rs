//! The vector operations that kernels are written in, once for every instruction set.
//!
//! A kernel is one `#[inline(always)]` function over `S: Simd`; the macro [`kernel!`](super::kernel)
//! instantiates it under `#[target_feature]` for AVX-512, AVX2+FMA and portable code, and picks one
//! at run time. Nothing is compiled with `-C target-cpu=native`.

/// One instruction set. `F32` holds `LANES` numbers.
///
/// `max(a, b)` and `min(a, b)` return `b` where either is NaN (as x86 does), so that
/// `max(limit, x)` keeps a NaN in `x`.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector register.
    type F32: Copy;
    /// Numbers in a register.
    const LANES: usize;
    /// Rows of a tile of the matrix product; its columns are `2 * LANES`.
    const TILE_ROWS: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// Reads `LANES` numbers.
    ///
    /// # Safety
    /// `from` must be readable for `LANES` numbers.
    unsafe fn load(self, from: *const f32) -> Self::F32;
    /// Writes `LANES` numbers.
    ///
    /// # Safety
    /// `to` must be writable for `LANES` numbers.
    unsafe fn store(self, to: *mut f32, x: Self::F32);
    /// Reads the first `n <= LANES` numbers, zero for the rest.
    ///
    /// # Safety
    /// `from` must be readable for `n` numbers.
    unsafe fn load_first(self, from: *const f32, n: usize) -> Self::F32;
    /// Writes the first `n <= LANES` numbers.
    ///
    /// # Safety
    /// `to` must be writable for `n` numbers.
    unsafe fn store_first(self, to: *mut f32, n: usize, x: Self::F32);
    /// Reads `LANES` pairs of bfloat16 (see `bf16.rs`): the low halves and the high halves, as float32.
    ///
    /// # Safety
    /// `from` must be readable for `LANES` 32-bit units.
    unsafe fn load_pairs(self, from: *const f32) -> (Self::F32, Self::F32);
    /// Reads `LANES` numbers of half precision.
    ///
    /// # Safety
    /// `from` must be readable for `LANES` halves.
    unsafe fn load_halves(self, from: *const u16) -> Self::F32;
    /// Writes `LANES` numbers in half precision, rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `to` must be writable for `LANES` halves.
    unsafe fn store_halves(self, to: *mut u16, x: Self::F32);
    /// Reads `LANES` signed bytes.
    ///
    /// # Safety
    /// `from` must be readable for `LANES` bytes.
    unsafe fn load_bytes(self, from: *const i8) -> Self::F32;
    /// Says that the cache line at `at` will be read. Any address will do.
    fn prefetch(self, at: *const f32);
    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, fused where the hardware fuses.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// `2^n` for integral `n` in `[-126, 127]`.
    fn power_of_two(self, n: Self::F32) -> Self::F32;
    /// The sum of the lanes, pairwise by halves.
    fn sum(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::F32) -> f32;
    /// Four bytes of each row side by side: `to[i][4 row ..]` is `rows[row][4 i ..]`.
    fn fours(self, rows: [&[u8; 32]; 16]) -> [[u8; 64]; 8] {
        let mut to = [[0; 64]; 8];
        for (row, fours) in rows.iter().enumerate() {
            for (to, four) in to.iter_mut().zip(fours.as_chunks::<4>().0) {
                to[4 * row..][..4].copy_from_slice(four);
            }
        }
        to
    }
}
