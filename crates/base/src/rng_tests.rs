//! The generator against its authors' known answers, and the shapes of the distributions.

use super::*;

/// Random123, `tests/kat_vectors`, the lines `philox4x32 10`.
#[test]
fn philox_known_answers() {
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    assert_eq!(
        philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
    );
}

#[test]
fn a_key_is_a_pure_function_of_its_words() {
    let key = Key::from_seed(7);
    assert_eq!(key.derive(&[1, 2]), key.derive(&[1]).derive(&[2]));
    assert_eq!(key.derive(&[]), key);
    assert_ne!(key.derive(&[1, 2]), key.derive(&[2, 1]));
    assert_ne!(key.derive(&[0]), key);
    assert_ne!(Key::from_seed(0), Key::from_seed(1));
    assert_ne!(key.derive(&[5]).bits(0), key.bits(5));
}

#[test]
fn uniform_and_normal_have_their_moments() {
    let key = Key::from_seed(1);
    let n = 200_000;
    let (mut sum, mut squares) = (0.0, 0.0);
    for i in 0..n {
        let x = f64::from(key.uniform(i));
        assert!((0.0..1.0).contains(&x));
        sum += x;
        squares += x * x;
    }
    // Standard errors: 0.29 / sqrt(n) = 0.00065 and 0.30 / sqrt(n); five of them.
    assert!((sum / n as f64 - 0.5).abs() < 0.0033);
    assert!((squares / n as f64 - 1.0 / 3.0).abs() < 0.0034);

    let normals: Vec<f64> = (0..n).map(|i| f64::from(key.normal(i))).collect();
    let moment = |power: i32| normals.iter().map(|x| x.powi(power)).sum::<f64>() / n as f64;
    assert!(moment(1).abs() < 0.0112, "mean {}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.0159, "variance {}", moment(2));
    assert!((moment(4) - 3.0).abs() < 0.110, "fourth moment {}", moment(4));
    let beyond_two = normals.iter().filter(|x| x.abs() > 2.0).count() as f64 / n as f64;
    assert!((beyond_two - 0.0455).abs() < 0.0024, "share beyond two deviations {beyond_two}");
}

#[test]
fn below_is_even_and_in_range() {
    let mut stream = Stream::new(Key::from_seed(3));
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[stream.below(7) as usize] += 1;
    }
    // Chi square with 6 degrees of freedom: beyond 22.46 once in a thousand.
    let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - 1e4).powi(2) / 1e4).sum();
    assert!(chi_square < 22.46, "{chi_square}");
    assert_eq!(Key::from_seed(3).below(0, 1), 0);
}

#[test]
#[should_panic(expected = "there is no integer below 0")]
fn below_zero_is_our_own_mistake() {
    Key::from_seed(3).below(0, 0);
}

#[test]
fn a_stream_goes_on_from_its_position() {
    let key = Key::from_seed(11);
    let mut whole = Stream::new(key);
    let first: Vec<u64> = (0..10).map(|_| whole.next_u64()).collect();
    let mut resumed = Stream::at(key, 6);
    assert_eq!(first[6..], (0..4).map(|_| resumed.next_u64()).collect::<Vec<_>>());
    assert_eq!(resumed.position(), 10);
}

#[test]
fn every_order_of_four_comes_up_as_often() {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..24_000 {
        let order = Permutation::new(Key::from_seed(seed), 4);
        *counts.entry((0..4).map(|i| order.get(i)).collect::<Vec<_>>()).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 24);
    // Chi square with 23 degrees of freedom: beyond 49.73 once in a thousand.
    let chi_square: f64 = counts.values().map(|&count| (f64::from(count) - 1e3).powi(2) / 1e3).sum();
    assert!(chi_square < 49.73, "{chi_square}");
}

#[test]
fn a_permutation_hits_every_place_once() {
    for len in (0..600).chain([1 << 12, (1 << 12) + 1, 65_535, 100_003]) {
        let order = Permutation::new(Key::from_seed(5), len);
        let mut seen = vec![false; len as usize];
        for i in 0..len {
            let value = order.get(i) as usize;
            assert!(!seen[value], "length {len}: {value} twice");
            seen[value] = true;
        }
    }
}

#[test]
fn a_permutation_looks_random() {
    let len = 10_000;
    let orders = [5, 6].map(|seed| Permutation::new(Key::from_seed(seed), len));
    // In a random order, the mean distance of neighbours is n / 3; one fixed point is expected.
    for order in &orders {
        let steps: u64 = (1..len).map(|i| order.get(i).abs_diff(order.get(i - 1))).sum();
        assert!((steps as f64 / (len - 1) as f64 / len as f64 - 1.0 / 3.0).abs() < 0.012);
        assert!((0..len).filter(|&i| order.get(i) == i).count() < 8);
    }
    assert!((0..len).filter(|&i| orders[0].get(i) == orders[1].get(i)).count() < 8);
}

#[test]
fn a_permutation_of_the_largest_length_answers() {
    let order = Permutation::new(Key::from_seed(5), u64::MAX);
    assert_ne!(order.get(0), order.get(u64::MAX - 1));
}
