// Output and log-sum-exp: a workgroup takes a tile of 16 queries of one head, and 128 columns of the output. The softmax
// runs along: scores are weighed by the highest so far, and what was summed under a lower one is scaled down.

@group(0) @binding(3) var<storage, read> q: array<Packed>;
@group(0) @binding(4) var<storage, read> k: array<Packed>;
@group(0) @binding(5) var<storage, read> v: array<Packed>;
@group(0) @binding(6) var<storage, read_write> out: array<Packed>;

fn top_of(values: vec4<f32>) -> f32 {
    return higher(higher(higher(higher(LOWEST, values.x), values.y), values.z), values.w);
}

// Adds the weighted values of the keys that each row has for itself.
fn add_row_values(x: u32, y: u32, head: Head, block: Block, first: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < block.count; i += 1u) {
        let a = columns[y * BLOCK + i];
        let low = weights[y * ACROSS + i];
        (*sums)[0] += low * value_vector(head, a, first);
        (*sums)[1] += low * value_vector(head, a, first + 8u);
        (*sums)[2] += low * value_vector(head, a, first + 16u);
        (*sums)[3] += low * value_vector(head, a, first + 24u);
        let b = columns[(y + 8u) * BLOCK + i];
        let high = weights[(y + 8u) * ACROSS + i];
        (*sums)[4] += high * value_vector(head, b, first);
        (*sums)[5] += high * value_vector(head, b, first + 8u);
        (*sums)[6] += high * value_vector(head, b, first + 16u);
        (*sums)[7] += high * value_vector(head, b, first + 24u);
    }
}

fn write(head: Head, lane: u32, d: u32, value: vec4<f32>, sum: f32) {
    if items[lane] == NONE || d >= params.dv4 {
        return;
    }
    let at = (head.query_head * params.rows + items[lane]) * params.dv4 + d;
    out[at] = narrow(select(value * (1.0 / sum), vec4<f32>(0.0), sum == 0.0));
}

// The logarithm of a row's sum, and what rounding took from it.
fn write_logarithm(head: Head, lane: u32, top: f32, sum: f32) {
    if items[lane] == NONE {
        return;
    }
    let at = head.query_head * params.rows + items[lane];
    if sum == 0.0 {
        scalars[params.lse_at + at] = params.minus_infinity;
        scalars[params.rest_at + at] = 0.0;
        return;
    }
    let logarithm = log(sum);
    let lse = top + logarithm;
    scalars[params.lse_at + at] = lse;
    scalars[params.rest_at + at] = (top - lse) + logarithm;
}

@compute @workgroup_size(64, 1, 1)
fn forward(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
) {
    let number = id.y * count.x + id.x;
    if number >= params.groups {
        return;
    }
    let group = params.first_group + number;
    let slice = group % params.slices;
    let tile = tile_of(group / params.slices);
    let head = head_at(params.first_head + group / params.slices / params.tiles);
    let x = local % 8u;
    let y = local / 8u;
    let width = slice_width(slice, params.dv4);
    choose_rows(local, tile);

    var top_low = LOWEST;
    var top_high = LOWEST;
    var sum_low = 0.0;
    var sum_high = 0.0;
    var sums = array<vec4<f32>, 8>();
    for (var next = tile.block; next < tile.end; next += 1u) {
        let block = block_at(next);
        workgroupBarrier();
        choose_columns(local, tile, block);
        workgroupBarrier();
        let products = queries_times_keys(local, x, y, head, block);
        let low = scores(head, tile, block, y, x, products.low);
        let high = scores(head, tile, block, y + 8u, x, products.high);
        let tops = highest_of_rows(x, y, vec2<f32>(top_of(low.values), top_of(high.values)));
        let new_low = higher(top_low, tops.x);
        let new_high = higher(top_high, tops.y);
        let less_low = exp(top_low - new_low);
        let less_high = exp(top_high - new_high);
        top_low = new_low;
        top_high = new_high;
        let p_low = select(vec4<f32>(0.0), exp(low.values - new_low), low.shown);
        let p_high = select(vec4<f32>(0.0), exp(high.values - new_high), high.shown);
        sum_low = sum_low * less_low + total(p_low);
        sum_high = sum_high * less_high + total(p_high);
        scale_sums(less_low, less_high, &sums);
        keep_weights(x, y, p_low * factors(head, block, y, x, low.shown));
        keep_weights(x, y + 8u, p_high * factors(head, block, y + 8u, x, high.shown));
        if block.kind == ROWS {
            workgroupBarrier();
            add_row_values(x, y, head, block, slice * SLICE + x, &sums);
            continue;
        }
        let piece = PIECE / width;
        for (var first = 0u; first < block.count; first += piece) {
            workgroupBarrier();
            for (var at = local; at < piece * width; at += 64u) {
                let i = min(first + at / width, BLOCK - 1u);
                column_chunk[at] = value_vector(head, columns[i], slice * SLICE + at % width);
            }
            workgroupBarrier();
            add_piece(x, y, first, min(piece, block.count - first), width, &sums);
        }
    }

    let row_sums = sums_of_rows(x, y, vec2<f32>(sum_low, sum_high));
    sum_low = row_sums.x;
    sum_high = row_sums.y;
    let d = slice * SLICE + x;
    write(head, y, d, sums[0], sum_low);
    write(head, y, d + 8u, sums[1], sum_low);
    write(head, y, d + 16u, sums[2], sum_low);
    write(head, y, d + 24u, sums[3], sum_low);
    write(head, y + 8u, d, sums[4], sum_high);
    write(head, y + 8u, d + 8u, sums[5], sum_high);
    write(head, y + 8u, d + 16u, sums[6], sum_high);
    write(head, y + 8u, d + 24u, sums[7], sum_high);
    if slice == 0u && x == 0u {
        write_logarithm(head, y, top_low, sum_low);
        write_logarithm(head, y + 8u, top_high, sum_high);
    }
}
