// What an adapter can do at most: multiply-adds without memory, and a copy without arithmetic. The first word of `source` is
// the number of rounds, all others are 0. A thread has CHAINS chains of four lanes, so that no multiply-add has to wait for the
// one before it, and a round has LINKS of each, so that counting rounds costs next to nothing.

@group(0) @binding(0) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;

@compute @workgroup_size(THREADS)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
    let rounds = bitcast<u32>(source[0].x);
    let a = vec4f(0.999, 0.998, 0.997, 0.996);
    let b = vec4f(0.5);
    var x: array<vec4f, CHAINS>;
    for (var i = 0u; i < CHAINS; i++) {
        x[i] = vec4f(f32(id.x + i));
    }
    for (var n = 0u; n < rounds; n++) {
        for (var link = 0u; link < LINKS; link++) {
            for (var i = 0u; i < CHAINS; i++) {
                x[i] = fma(x[i], a, b);
            }
        }
    }
    var sum = vec4f();
    for (var i = 0u; i < CHAINS; i++) {
        sum += x[i];
    }
    result[id.x] = sum;
}

@compute @workgroup_size(THREADS)
fn copy(@builtin(global_invocation_id) id: vec3u) {
    for (var i = 0u; i < COPIES; i++) {
        result[id.x + i * PEAK_THREADS] = source[id.x + i * PEAK_THREADS];
    }
}
