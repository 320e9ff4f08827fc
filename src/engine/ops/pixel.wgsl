// Four channels, or so many as `count` says, of a pixel of the image at `p.first` and `p.second`, loaded.

fn pixel4(sample: u32, y: u32, x: u32, channel: u32, count: u32) -> vec4f {
    let start = (sample * p.load.height + y) * p.load.width + x;
    if VECTORS != 0u {
        var at = p.first + start * p.load.channels_a + channel;
        if channel >= p.load.channels_a {
            at = p.second + start * p.load.channels_b + channel - p.load.channels_a;
        }
        return loaded4(read4(at), sample, 0u, channel);
    }
    var v = vec4f();
    for (var i = 0u; i < min(count, 4u); i++) {
        let c = channel + i;
        var at = p.first + start * p.load.channels_a + c;
        if c >= p.load.channels_a { at = p.second + start * p.load.channels_b + c - p.load.channels_a; }
        v[i] = loaded1(read1(at), sample, 0u, c);
    }
    return v;
}
