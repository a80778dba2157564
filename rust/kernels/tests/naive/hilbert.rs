//! The plane's Hilbert curve: drawn, and a level at a time; and that of any number of axes, a bit at a time.
//!
//! Drawn: four copies of the curve before, the first and the last one turned.

/// Cells of the curve of side `2**order` that starts at the origin.
///
/// Quadrant by quadrant: the shorter curve, two transposed copies, a mirrored one. The shorter curve lies first as it
/// is, so the frame is transposed at every other order.
pub fn plane(order: u32) -> Vec<[u64; 2]> {
    if order == 0 {
        return vec![[0, 0]];
    }
    let half = 1 << (order - 1);
    let first = plane(order - 1);
    let odd = order % 2 == 1;
    let put = |[y, x]: [u64; 2]| if odd { [y, x] } else { [x, y] };
    // In the frame where `first` ends along axis 0.
    let framed: Vec<[u64; 2]> = first.iter().map(|&p| put(p)).collect();
    let mut out = framed.clone();
    out.extend(framed.iter().map(|&[y, x]| [half + x, y]));
    out.extend(framed.iter().map(|&[y, x]| [half + x, half + y]));
    out.extend(framed.iter().map(|&[y, x]| [half - 1 - y, 2 * half - 1 - x]));
    out.into_iter().map(put).collect()
}

/// The place of a cell, level by level from the top: the quadrant's place, then the turn of what lies in it.
pub fn place(y: u64, x: u64, order: u32) -> u64 {
    // A curve of odd order has its axes the other way round.
    let (mut a, mut b) = if order % 2 == 1 { (x, y) } else { (y, x) };
    let mut place = 0;
    for level in (0..order).rev() {
        let (high, low) = (a >> level & 1, b >> level & 1);
        place = place << 2 | high << 1 | (high ^ low);
        let mask = (1 << level) - 1;
        (a, b) = (a & mask, b & mask);
        match (high, low) {
            (0, 0) => (a, b) = (b, a),
            (1, 0) => (a, b) = (mask - b, mask - a),
            _ => {}
        }
    }
    place
}

/// The place of a cell of any number of axes, by the loops of Skilling's paper, one bit after the other.
pub fn place_of(point: &[u64], order: u32) -> u64 {
    let (n, mut x) = (point.len(), point.to_vec());
    x.rotate_left(order as usize % n);
    for level in (1..order).rev() {
        for axis in 0..n {
            let set = x[axis] >> level & 1 == 1;
            for bit in (0..level).map(|below| 1 << below) {
                if set {
                    x[0] ^= bit;
                } else if (x[0] ^ x[axis]) & bit != 0 {
                    x[0] ^= bit;
                    x[axis] ^= bit;
                }
            }
        }
    }
    for axis in 1..n {
        x[axis] ^= x[axis - 1];
    }
    let last = x[n - 1];
    for level in (1..order).filter(|level| last >> level & 1 == 1) {
        for x in &mut x {
            *x ^= (1 << level) - 1;
        }
    }
    super::morton::encode(&x, order)
}
