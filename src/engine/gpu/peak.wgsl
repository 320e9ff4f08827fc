// What an adapter can do at most: multiply-adds without memory, and a copy without arithmetic. `from` is 0 all over but
// for its first word, which says how often to go round.

@group(0) @binding(0) var<storage, read_write> to: array<vec4f>;
@group(0) @binding(1) var<storage, read> from: array<vec4f>;

// Eight chains of four lanes, so that none waits for itself.
@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
    let rounds = bitcast<u32>(from[0].x);
    let a = vec4f(0.999, 0.998, 0.997, 0.996);
    let b = vec4f(0.5);
    var x: array<vec4f, 8>;
    for (var i = 0u; i < 8u; i++) {
        x[i] = vec4f(f32(id.x + i));
    }
    for (var n = 0u; n < rounds; n++) {
        for (var i = 0u; i < 8u; i++) {
            x[i] = fma(x[i], a, b);
        }
    }
    to[id.x] = x[0] + x[1] + x[2] + x[3] + x[4] + x[5] + x[6] + x[7];
}

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3u) {
    to[id.x] = from[id.x];
}
