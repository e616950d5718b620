//! In which order endpoints take turns: each as often as its weight says, spread evenly.

/// How many turns a round has at most, if there are few endpoints: a share is kept to about a
/// thousandth.
const MOST: u64 = 1024;

/// How many turns there may be for each of many endpoints.
const EACH: u64 = 64;

/// Which endpoint is next, and so on, for a round.
pub(crate) fn turns(weights: &[u32]) -> Vec<usize> {
    let weights = reduced(weights);
    let each = weights.iter().enumerate();
    // The turns of each are evenly spread: in the middle of its parts of the round.
    let mut turns: Vec<(i64, usize)> = each
        .flat_map(|(index, weight)| (0..*weight).map(move |turn| (2 * turn + 1, index)))
        .collect();
    let at = |turn: i64, other: usize| i128::from(turn) * i128::from(weights[other]);
    turns.sort_by(|&(a, i), &(b, j)| at(a, j).cmp(&at(b, i)).then(i.cmp(&j)));
    turns.into_iter().map(|(_, index)| index).collect()
}

/// The smallest weights that are as good.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let by = weights.iter().copied().fold(0, divisor).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / by)).sum();
    let most = MOST.max(EACH * weights.len() as u64);
    let scaled = weights.iter().map(|weight| {
        let weight = u64::from(weight / by);
        match total > most {
            true => (u128::from(weight) * u128::from(most) / u128::from(total)).max(1) as i64,
            false => weight as i64,
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
    fn many_endpoints_have_their_shares_too() {
        let weights: Vec<u32> = (0..1000).map(|index| [1, 3, 100][index % 3]).collect();
        let round = turns(&weights);
        let of = |index| round.iter().filter(|turn| **turn == index).count();
        assert_eq!((of(0), of(1), of(2)), (1, 3, 100));
    }

    #[test]
    fn large_weights_are_kept_to_a_thousandth_and_none_is_left_out() {
        let round = turns(&[u32::MAX, 1, u32::MAX / 2]);
        let of = |index| round.iter().filter(|turn| **turn == index).count();
        assert_eq!((of(0), of(1), of(2)), (682, 1, 341));
        assert_eq!(turns(&vec![1; 5000]).len(), 5000);
    }
}
