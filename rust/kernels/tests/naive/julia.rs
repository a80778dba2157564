//! Escape fields, a point at a time.

use num_complex::Complex;

/// Number of the first iterate outside of the disc and the iterate, or none.
pub fn exit(mut z: Complex<f64>, c: Complex<f64>, max_iter: u32, radius: f64) -> Option<(u32, Complex<f64>)> {
    for k in 0..max_iter {
        if z.re * z.re + z.im * z.im > radius * radius {
            return Some((k, z));
        }
        let ri = z.re * z.im;
        z = Complex { re: (z.re * z.re - z.im * z.im) + c.re, im: (ri + ri) + c.im };
    }
    None
}

pub fn smooth(z: Complex<f64>, c: Complex<f64>, max_iter: u32, radius: f64) -> f64 {
    let Some((k, z)) = exit(z, c, max_iter, radius) else { return f64::from(max_iter) };
    f64::from(k) + 1.0 - (0.5 * (z.re * z.re + z.im * z.im).ln() / radius.ln()).log2()
}

/// The soft escape count, by the product that defines it.
pub fn soft(mut z: Complex<f64>, c: Complex<f64>, max_iter: u32, radius: f64, smoothness: f64) -> f64 {
    let (mut survival, mut expected) = (1.0, 0.0);
    for _ in 0..max_iter {
        let steep = (z.norm() - radius) * smoothness;
        survival *= 1.0 / (1.0 + steep.exp());
        if steep > 40.0 {
            return expected;
        }
        expected += survival;
        z = z * z + c;
    }
    expected
}

/// Green's function, with a bail-out radius far beyond the kernel's.
pub fn potential(z: Complex<f64>, c: Complex<f64>, max_iter: u32) -> f64 {
    exit(z, c, max_iter, 1e30).map_or(0.0, |(k, z)| z.norm().ln() * (-f64::from(k)).exp2())
}
