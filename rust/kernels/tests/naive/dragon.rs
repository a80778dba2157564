//! The folded strip: fold `order` times, unfold to right angles.

pub fn turns(order: u32) -> Vec<i8> {
    let mut folds = Vec::new();
    for _ in 0..order {
        let back: Vec<i8> = folds.iter().rev().map(|t: &i8| -t).collect();
        folds.push(1);
        folds.extend(back);
    }
    folds
}

pub fn vertices(order: u32) -> Vec<i64> {
    let (mut at, mut step) = ([0, 0], [1, 0]);
    let mut out = vec![0, 0];
    for turn in turns(order).into_iter().map(i64::from).chain([1]) {
        at = [at[0] + step[0], at[1] + step[1]];
        step = [-turn * step[1], turn * step[0]];
        out.extend(at);
    }
    out
}
