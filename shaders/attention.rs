//! Sparse attention, forward and backward, on the tiles and rows of a plan.

use crate::params::params;
use crate::{Binding, Constant, Entry, Kind, Need, Params, Part, Shader, Tolerance, part, twin};

params! {
    /// Parameters of every shader here; `attention/params.wgsl` says what each is.
    pub struct AttentionParams {
        /// Which draws of dropout, lower word first.
        pub seed: [u32; 2],
        /// A weight is dropped whose draw is below this.
        pub threshold: [u32; 2],
        /// The factor on the others; 0 is no dropout.
        pub kept: f32,
        /// Factor on the dot products.
        pub scale: f32,
        /// The cap of scores.
        pub soft_cap: f32,
        /// One divided by it.
        pub soft_cap_inverse: f32,
        /// −∞.
        pub minus_infinity: f32,
        /// Rows of the plan.
        pub rows: u32,
        /// Columns of the plan.
        pub columns: u32,
        /// Query heads of a batch.
        pub heads: u32,
        /// Query heads of a key head.
        pub group: u32,
        /// Vectors of four of a key.
        pub d4: u32,
        /// Vectors of four of a value.
        pub dv4: u32,
        /// Tiles of a head.
        pub tiles: u32,
        /// First head.
        pub first_head: u32,
        /// First workgroup, or first query.
        pub first_group: u32,
        /// Workgroups, or queries.
        pub groups: u32,
        /// Where the gradients of values begin.
        pub values_at: u32,
        /// Slices of a result.
        pub slices: u32,
        /// 1: one tile serves all.
        pub shifted: u32,
        /// Part of the tables: row of each position.
        pub order_at: u32,
        /// Part of the tables: tiles, the longest first.
        pub tile_order_at: u32,
        /// Part of the tables: where the blocks of each tile begin.
        pub block_ptr_at: u32,
        /// Part of the tables: blocks.
        pub blocks_at: u32,
        /// Part of the tables: listed columns with their masks.
        pub list_at: u32,
        /// Part of the tables: where the columns of each row begin.
        pub row_ptr_at: u32,
        /// Part of the tables: columns of rows.
        pub row_keys_at: u32,
        /// Part of the tables: edges of the tiles' columns, 16 each.
        pub tile_edges_at: u32,
        /// Part of the tables: edges of the rows' columns.
        pub row_edges_at: u32,
        /// Part of the scalars: logarithms of sums.
        pub lse_at: u32,
        /// Part of the scalars: what rounding took from them.
        pub rest_at: u32,
        /// Part of the scalars: what [`Storage::delta`] leaves.
        pub delta_at: u32,
        /// Part of the scalars: gradient of the logarithms.
        pub dlse_at: u32,
        /// Part of the scalars: bias of keys.
        pub key_bias_at: u32,
        /// Part of the scalars: bias of edges.
        pub edge_bias_at: u32,
        /// Part of the scalars: gradient of the bias of keys.
        pub key_bias_gradient_at: u32,
        /// Part of the scalars: gradient of the bias of edges.
        pub edge_bias_gradient_at: u32,
        /// From a batch's bias of keys to the next.
        pub key_bias_batch: u32,
        /// From a head's bias of keys to the next.
        pub key_bias_head: u32,
        /// From a head's bias of edges to the next.
        pub edge_bias_head: u32,
        /// The batch that the draws of the first one are those of.
        pub draw_batch: u32,
        /// The head that the draws of the first one are those of.
        pub draw_head: u32,
    }
}

/// The shaders for tensors that are stored in one way.
#[derive(Debug)]
pub struct Storage {
    /// Output and log-sum-exp.
    pub forward: Shader,
    /// The same where eight invocations in a row run in lockstep.
    pub forward_in_subgroups: Shader,
    /// What the two passes of the backward share.
    pub delta: Shader,
    /// Gradients of queries and of the bias of edges.
    pub queries: Shader,
    /// Gradients of keys, of values and of the bias of keys.
    pub keys: Shader,
}

const PARAMETERS: Binding = Binding { index: 0, kind: Kind::Uniform(AttentionParams::LAYOUT), holds: "parameters" };
const TABLES: Binding = Binding { index: 1, kind: Kind::ReadOnly, holds: "tables of the plan, u32" };
const SCALARS: Binding = Binding { index: 2, kind: Kind::ReadWrite, holds: "logarithms and biases, f32" };
const Q: Binding = Binding { index: 3, kind: Kind::ReadOnly, holds: "q (B, H, Nq, D), D a multiple of 4" };
const K: Binding = Binding { index: 4, kind: Kind::ReadOnly, holds: "k (B, Hkv, Nk, D)" };
const V: Binding = Binding { index: 5, kind: Kind::ReadOnly, holds: "v (B, Hkv, Nk, Dv), Dv a multiple of 4" };
const DOUT: Binding = Binding { index: 6, kind: Kind::ReadOnly, holds: "gradient of the output (B, H, Nq, Dv)" };

const PARAMS: Part = part!("attention/params.wgsl");
const PLAN: Part = part!("attention/plan.wgsl");
const SCALARS_PART: Part = part!("attention/scalars.wgsl");
const DROPOUT: Part = part!("attention/dropout.wgsl");
const PRODUCT: Part = part!("attention/product.wgsl");
const SOFT_CAP: Part = part!("attention/soft_cap.wgsl");
const SCORES: Part = part!("attention/scores.wgsl");
const BY_QUERY: Part = part!("attention/by_query.wgsl");
const FORWARD: Part = part!("attention/forward.wgsl");
const FORWARD_BINDINGS: &[Binding] = &[
    PARAMETERS,
    TABLES,
    SCALARS,
    Q,
    K,
    V,
    Binding { index: 6, kind: Kind::ReadWrite, holds: "output (B, H, Nq, Dv)" },
];

/// Whether scores have a soft cap.
pub const CAPPED: &str = "CAPPED";
const CONSTANTS: &[Constant] = &[Constant { name: CAPPED, choices: &[0.0, 1.0] }];

const fn entry(name: &'static str, twin: &'static str, tolerance: f64) -> Entry {
    let tolerance = Tolerance::Close { relative: tolerance, absolute: tolerance };
    Entry { name, workgroup: [64, 1, 1], twin, tolerance }
}

const fn shader(
    name: &'static str,
    parts: &'static [Part],
    bindings: &'static [Binding],
    entries: &'static [Entry],
) -> Shader {
    Shader { name, parts, needs: &[], constants: CONSTANTS, bindings, entries }
}

macro_rules! forward_parts {
    ($storage:literal, $rows:literal) => {
        &[
            part!($storage),
            PARAMS,
            PLAN,
            DROPOUT,
            SCALARS_PART,
            PRODUCT,
            SOFT_CAP,
            SCORES,
            BY_QUERY,
            part!($rows),
            FORWARD,
        ]
    };
}

macro_rules! storage {
    ($name:literal, $file:literal, $forward:literal, $gradient:literal) => {
        Storage {
            forward: shader(
                concat!("attention/forward/", $name),
                forward_parts!($file, "attention/rows/memory.wgsl"),
                FORWARD_BINDINGS,
                &[entry("forward", twin!(fractal_kernels::attention::forward), $forward)],
            ),
            forward_in_subgroups: Shader {
                needs: &[Need::Subgroups],
                ..shader(
                    concat!("attention/forward-in-subgroups/", $name),
                    forward_parts!($file, "attention/rows/subgroups.wgsl"),
                    FORWARD_BINDINGS,
                    &[entry("forward", twin!(fractal_kernels::attention::forward), $forward)],
                )
            },
            delta: Shader {
                constants: &[],
                ..shader(
                    concat!("attention/delta/", $name),
                    &[part!($file), PARAMS, part!("attention/delta.wgsl")],
                    &[
                        PARAMETERS,
                        Binding { index: 1, ..SCALARS },
                        Binding { index: 2, kind: Kind::ReadOnly, holds: "output (B, H, Nq, Dv)" },
                        Binding { index: 3, ..DOUT },
                    ],
                    &[entry("delta", twin!(fractal_kernels::attention::backward), $gradient)],
                )
            },
            queries: shader(
                concat!("attention/queries/", $name),
                &[
                    part!($file),
                    PARAMS,
                    PLAN,
                    DROPOUT,
                    SCALARS_PART,
                    PRODUCT,
                    SOFT_CAP,
                    SCORES,
                    BY_QUERY,
                    part!("attention/dq.wgsl"),
                ],
                &[
                    PARAMETERS,
                    TABLES,
                    SCALARS,
                    Q,
                    K,
                    V,
                    DOUT,
                    Binding { index: 7, kind: Kind::ReadWrite, holds: "gradient of q" },
                ],
                &[entry("queries", twin!(fractal_kernels::attention::backward), $gradient)],
            ),
            keys: shader(
                concat!("attention/keys/", $name),
                &[
                    part!($file),
                    PARAMS,
                    PLAN,
                    DROPOUT,
                    SCALARS_PART,
                    PRODUCT,
                    SOFT_CAP,
                    SCORES,
                    part!("attention/dkv.wgsl"),
                ],
                &[
                    PARAMETERS,
                    TABLES,
                    SCALARS,
                    Q,
                    K,
                    V,
                    DOUT,
                    Binding { index: 7, kind: Kind::ReadWrite, holds: "gradients of k, then of v" },
                ],
                &[entry("keys", twin!(fractal_kernels::attention::backward), $gradient)],
            ),
        }
    };
}

/// Tensors of 32-bit floats.
pub static F32: Storage = storage!("f32", "attention/storage/f32.wgsl", 1e-5, 1e-4);
/// Tensors of IEEE halves, two in a word.
pub static F16: Storage = storage!("f16", "attention/storage/f16.wgsl", 2e-3, 4e-3);
/// Tensors of bfloat16, two in a word.
pub static BF16: Storage = storage!("bf16", "attention/storage/bf16.wgsl", 1e-2, 2e-2);
