//! Parameters of a call: a struct in Rust and one in WGSL, which a test compares field by field.

use bytemuck::Pod;

/// The parameters of a shader as the host writes them.
pub trait Params: Pod {
    /// What the shader must call its fields, and where they are.
    const LAYOUT: Layout;
}

/// Where the fields of a struct are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the whole.
    pub size: usize,
    /// In the order of their offsets.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, the same in both languages.
    pub name: &'static str,
    /// Its type in WGSL.
    pub wgsl: &'static str,
    /// Bytes before it.
    pub offset: usize,
}

/// A type that both languages have.
pub trait Word: Pod {
    /// Its name in WGSL.
    const WGSL: &'static str;
}

macro_rules! words {
    ($($rust:ty => $wgsl:literal),* $(,)?) => { $(impl Word for $rust { const WGSL: &'static str = $wgsl; })* };
}
words! {
    u32 => "u32", i32 => "i32", f32 => "f32",
    [u32; 2] => "vec2<u32>", [i32; 2] => "vec2<i32>", [f32; 2] => "vec2<f32>",
    [u32; 4] => "vec4<u32>", [i32; 4] => "vec4<i32>", [f32; 4] => "vec4<f32>",
}

/// No parameters.
impl Params for () {
    const LAYOUT: Layout = Layout { size: 0, fields: &[] };
}

/// Declares a struct of parameters. Its fields are words, and lie where WGSL puts them: a `vec2` at a multiple of 8
/// bytes, a `vec4` at one of 16, and the whole has a multiple of its largest alignment.
macro_rules! params {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$of:meta])* pub $field:ident: $word:ty,)* }) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$of])* pub $field: $word,)* }

        impl $crate::Params for $name {
            const LAYOUT: $crate::Layout = $crate::Layout {
                size: size_of::<Self>(),
                fields: &[$($crate::Field {
                    name: stringify!($field),
                    wgsl: <$word as $crate::Word>::WGSL,
                    offset: std::mem::offset_of!(Self, $field),
                }),*],
            };
        }
    };
}
pub(crate) use params;
