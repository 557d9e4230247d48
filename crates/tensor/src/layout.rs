//! Lays intervals of time into one arena, so that memory is used again as soon as it is free.

/// A piece of memory that is needed from `birth` to `death`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Numbers.
    pub len: usize,
    /// First time it is used.
    pub birth: usize,
    /// Last time it is used.
    pub death: usize,
}

/// Pieces begin at cache lines.
const ALIGN: usize = 16;

/// Offsets for all intervals and the arena's length. Greedy by size: the largest first, each at the
/// lowest offset where nothing that lives at the same time lies (Pisarchyk and Lee 2020).
pub fn lay_out(intervals: &[Interval]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].len), i));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(intervals.len()); // by offset
    let mut total = 0;
    for &index in &order {
        let interval = intervals[index];
        if interval.len == 0 {
            continue;
        }
        let len = interval.len.next_multiple_of(ALIGN);
        let mut offset = 0;
        for &other in &placed {
            let neighbour = intervals[other];
            if neighbour.birth > interval.death || interval.birth > neighbour.death {
                continue;
            }
            if offsets[other] >= offset + len {
                break;
            }
            offset = offset.max(offsets[other] + neighbour.len.next_multiple_of(ALIGN));
        }
        offsets[index] = offset;
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, index);
        total = total.max(offset + len);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_live_together_do_not_overlap_and_memory_is_used_again() {
        let mut state = 1_u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for _ in 0..200 {
            let intervals: Vec<Interval> = (0..random(30))
                .map(|_| {
                    let birth = random(20);
                    Interval { len: random(100), birth, death: birth + random(10) }
                })
                .collect();
            let (offsets, total) = lay_out(&intervals);
            for (i, a) in intervals.iter().enumerate() {
                assert!(offsets[i] + a.len <= total || a.len == 0);
                for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                    let together = a.birth <= b.death && b.birth <= a.death;
                    let overlap = offsets[i] < offsets[j] + b.len && offsets[j] < offsets[i] + a.len;
                    assert!(!(together && overlap && a.len > 0 && b.len > 0));
                }
            }
        }
        let apart = [Interval { len: 64, birth: 0, death: 1 }, Interval { len: 64, birth: 2, death: 3 }];
        assert_eq!(lay_out(&apart).1, 64);
    }
}
