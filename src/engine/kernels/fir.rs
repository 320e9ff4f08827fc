//! Twice or half the resolution by the filter (1, 3, 3, 1) along each axis, with zeros around the image.

/// The pixels that a pixel of the output is made of along an axis, and their shares.
#[inline(always)]
fn taps(up: bool, at: usize) -> ([isize; 4], [f32; 4]) {
    let at = at as isize;
    if up {
        let near = at / 2;
        let far = if at % 2 == 0 { near - 1 } else { near + 1 };
        ([near, far, -1, -1], [0.75, 0.25, 0.0, 0.0])
    } else {
        let first = 2 * at - 1;
        ([first, first + 1, first + 2, first + 3], [0.125, 0.375, 0.375, 0.125])
    }
}

/// One sample, `[height, width, channels]`, to one of twice the height and width where `up` says so, or half of both: its rows from
/// `top`, as many as `out` holds.
pub fn fir(image: &[f32], [height, width, channels]: [usize; 3], up: bool, top: usize, out: &mut [f32]) {
    let out_width = if up { 2 * width } else { width / 2 };
    for (i, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(0.0);
        let (rows, row_shares) = taps(up, top + i / out_width);
        let (columns, column_shares) = taps(up, i % out_width);
        for (row, share) in rows.into_iter().zip(row_shares) {
            if !(0..height as isize).contains(&row) {
                continue;
            }
            for (column, other) in columns.into_iter().zip(column_shares) {
                if !(0..width as isize).contains(&column) {
                    continue;
                }
                let from = (row as usize * width + column as usize) * channels;
                for (out, x) in out.iter_mut().zip(&image[from..from + channels]) {
                    *out += share * other * x;
                }
            }
        }
    }
}
