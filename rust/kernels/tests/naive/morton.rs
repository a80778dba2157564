//! Morton code, a bit at a time.

pub fn encode(point: &[u64], order: u32) -> u64 {
    let n = point.len();
    let mut code = 0;
    for b in 0..order as usize {
        for (i, x) in point.iter().enumerate() {
            code |= (x >> b & 1) << (b * n + n - 1 - i);
        }
    }
    code
}
