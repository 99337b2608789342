//! Medians, and how sure they are.

use serde::Serialize;

/// A median with its 95 % confidence interval and the extremes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// The middle value.
    pub median: f64,
    /// Lower end of the median's 95 % interval, by order statistics (binomial, p = ½).
    pub low95: f64,
    /// Upper end of it.
    pub high95: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// How many values.
    pub runs: usize,
}

/// Summarises values; `None` without any.
pub fn summarize(values: &[f64]) -> Option<Summary> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let rank = n.checked_sub(1)?;
    let (low, high) = median_interval(n);
    Some(Summary {
        median: f64::midpoint(sorted[rank / 2], sorted[rank.div_ceil(2)]),
        low95: sorted[low],
        high95: sorted[high],
        min: sorted[0],
        max: sorted[rank],
        runs: n,
    })
}

/// The ranks between which the median lies with at least 95 %: the widest pair of order
/// statistics whose tails hold 2.5 % each. With fewer than 6 values they are the extremes.
fn median_interval(n: usize) -> (usize, usize) {
    let mut tail = 0.0;
    let mut term = 0.5f64.powi(n as i32);
    let mut low = 0;
    for k in 0..n / 2 {
        tail += term;
        if tail > 0.025 {
            break;
        }
        low = k + 1;
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    let low = low.saturating_sub(1).max(if low > 0 { low - 1 } else { 0 });
    (low, n - 1 - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(summarize(&[3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(summarize(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert!(summarize(&[]).is_none());
    }

    #[test]
    fn interval_of_twenty_is_the_sixth_to_the_fifteenth() {
        // A standard table of nonparametric intervals gives ranks 6 and 15 for n = 20.
        assert_eq!(median_interval(20), (5, 14));
        assert_eq!(median_interval(5), (0, 4));
    }
}
