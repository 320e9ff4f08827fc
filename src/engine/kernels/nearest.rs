//! The row of a table that is nearest to each pixel.

use super::product::Panels;

/// Replaces each pixel by the row of the table from which the sum of its squared differences is least, the first of equals.
/// Differences are squared before they are summed: a difference of squares would lose the digits that tell near rows apart.
pub fn nearest(image: &[f32], table: &Panels, out: &mut [f32]) {
    let channels = table.columns;
    for (pixel, out) in image.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
        let mut best = (f32::INFINITY, 0);
        for row in 0..table.rows {
            // The output holds the row for as long as it is compared.
            table.copy_row(row, out);
            let distance = pixel.iter().zip(&*out).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y));
            if distance < best.0 {
                best = (distance, row);
            }
        }
        table.copy_row(best.1, out);
    }
}
