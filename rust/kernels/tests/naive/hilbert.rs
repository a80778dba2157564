//! The plane's Hilbert curve: drawn, and a level at a time.
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
