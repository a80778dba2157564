//! The plane's Hilbert curve, drawn: four copies of the curve before, the first and the last one turned.

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
