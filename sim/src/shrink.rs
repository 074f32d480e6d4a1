//! Finds a short list of faults that still makes a run fail.
//!
//! Invariant: what is returned fails, and fails no longer if any one of its
//! entries is taken out (Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input", 2002: ddmin).

/// Shortens the list of the numbers below `count`, which fails as a whole, with at
/// most `tries` calls of `fails`.
pub fn shrink(count: usize, tries: usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut list: Vec<usize> = (0..count).collect();
    let mut parts = 2;
    let mut tried = 0;
    while !list.is_empty() {
        let size = list.len().div_ceil(parts);
        let mut shorter = None;
        for start in (0..list.len()).step_by(size) {
            if tried == tries {
                return list;
            }
            tried += 1;
            let rest = [&list[..start], &list[(start + size).min(list.len())..]].concat();
            if fails(&rest) {
                shorter = Some(rest);
                break;
            }
        }
        match shorter {
            Some(rest) => {
                list = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(list.len()),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let needed = [3, 17, 18];
        let fails = |list: &[usize]| needed.iter().all(|number| list.contains(number));
        assert_eq!(shrink(40, 1000, fails), needed);
        assert!(shrink(40, 1000, |_| true).is_empty());
        assert_eq!(shrink(1, 1000, |list| list == [0]), [0]);
    }

    #[test]
    fn tries_are_bounded_and_what_is_returned_fails() {
        let mut calls = 0;
        let left = shrink(40, 5, |list| {
            calls += 1;
            list.contains(&39)
        });
        assert!(calls <= 5 && left.contains(&39) && left.len() < 40);
    }
}
