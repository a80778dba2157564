//! Digit sets, by looking at every integer.

pub fn digit_offsets(n: i64, base: i64, digits: &[i64]) -> Vec<i64> {
    let written = |mut x: i64| {
        let mut out = vec![x % base];
        while x >= base {
            x /= base;
            out.push(x % base);
        }
        out
    };
    (0..n).filter(|&x| written(x).iter().all(|d| digits.contains(d))).collect()
}
