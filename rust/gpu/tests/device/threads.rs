//! Threads share a context.

use crate::common::context;
use fractal_gpu::ops::elementwise::{add, multiply};

#[test]
fn four_threads_compute_at_once() {
    let Some(context) = context() else { return };
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let context = &context;
            scope.spawn(move || {
                for round in 0..50 {
                    let n = 1000 + usize::from(thread) * 311 + round;
                    let x = context.upload(&vec![f32::from(thread); n]).unwrap();
                    let y = context.upload(&vec![round as f32; n]).unwrap();
                    let sum = add(&x, &y).unwrap();
                    let result = context.download::<f32>(multiply(&sum, &x).unwrap()).unwrap();
                    let wanted = (f32::from(thread) + round as f32) * f32::from(thread);
                    assert!(result.len() == n && result.iter().all(|&z| (z - wanted).abs() == 0.0));
                }
            });
        }
    });
    assert_eq!(context.memory().allocated, 0);
}
