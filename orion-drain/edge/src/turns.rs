//! In which order endpoints take turns: each as often as its weight says, spread evenly.

/// How many turns a round has at most, if there are fewer endpoints than that: a weight is kept to
/// about a thousandth.
const MOST: u64 = 1024;

/// Which endpoint is next, and so on, for a round.
pub(crate) fn turns(weights: &[u32]) -> Vec<usize> {
    let weights = reduced(weights);
    if weights.iter().all(|weight| *weight == 1) {
        return (0..weights.len()).collect();
    }
    let total: i64 = weights.iter().sum();
    // In every turn each is owed its weight, and the one that is owed most is next.
    let mut owed = vec![0; weights.len()];
    let turns = (0..total).map(|_| {
        let mut next = 0;
        for (index, weight) in weights.iter().enumerate() {
            owed[index] += weight;
            if owed[index] > owed[next] {
                next = index;
            }
        }
        owed[next] -= total;
        next
    });
    turns.collect()
}

/// The smallest weights that are as good.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let by = weights.iter().copied().fold(0, divisor).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / by)).sum();
    let most = MOST.max(weights.len() as u64);
    let scaled = weights.iter().map(|weight| {
        let weight = i64::from(weight / by);
        match total > most {
            // Both are far below 2^32.
            true => (weight * most as i64 / total as i64).max(1),
            false => weight,
        }
    });
    scaled.collect()
}

fn divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_as_many_turns_as_its_weight_says_spread_evenly() {
        assert_eq!(turns(&[]), [0; 0]);
        assert_eq!(turns(&[7]), [0]);
        assert_eq!(turns(&[5, 5, 5]), [0, 1, 2]);
        assert_eq!(turns(&[1, 3]), [1, 0, 1, 1]);
        assert_eq!(turns(&[50, 100, 50]), [1, 0, 2, 1]);
    }

    #[test]
    fn large_weights_are_kept_to_a_thousandth_and_none_is_left_out() {
        let round = turns(&[u32::MAX, 1, u32::MAX / 2]);
        let of = |index| round.iter().filter(|turn| **turn == index).count();
        assert_eq!((of(0), of(1), of(2)), (682, 1, 341));
        assert_eq!(turns(&vec![1; 5000]).len(), 5000);
    }
}
