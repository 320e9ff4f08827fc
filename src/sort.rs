//! Sorting in few bytes: the library's sorts would take eight kilobytes of a page, compressed, and nothing here is long.

/// Sorts by `less` in place, equals in any order (heapsort; Williams 1964).
pub(crate) fn sort<T>(items: &mut [T], less: &dyn Fn(&T, &T) -> bool) {
    let count = items.len();
    for step in (0..count + count / 2).rev() {
        // First the heap is made, from the middle to the front; then its greatest goes to the end, one after the other.
        let (mut parent, end) = if step >= count { (step - count, count) } else { (0, step) };
        if step < count {
            items.swap(0, step);
        }
        loop {
            let mut child = 2 * parent + 1;
            if child >= end {
                break;
            }
            if child + 1 < end && less(&items[child], &items[child + 1]) {
                child += 1;
            }
            if !less(&items[parent], &items[child]) {
                break;
            }
            items.swap(parent, child);
            parent = child;
        }
    }
}

/// A name that is there twice: the first of those in their order.
pub(crate) fn twice(mut names: Vec<&str>) -> Option<&str> {
    sort(&mut names, &|a, b| a < b);
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sorted_is_what_the_library_sorts(mut found in prop::collection::vec(any::<(u8, u16)>(), 0..200)) {
            let mut expected = found.clone();
            expected.sort_unstable();
            super::sort(&mut found, &|a, b| a < b);
            prop_assert_eq!(found, expected);
        }
    }
}
