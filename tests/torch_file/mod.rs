//! Writes files as `torch.save` does, and others.

#![allow(dead_code, reason = "each test takes what it needs")]

/// Any bytes that are finite numbers.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| i as u8 % 60).collect()
}

/// A tensor as a pickle describes it.
#[derive(Clone, Copy)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) storage: &'a str,
    pub(crate) key: &'a str,
    pub(crate) elements: i64,
    pub(crate) offset: i64,
    pub(crate) shape: &'a [i64],
    pub(crate) strides: &'a [i64],
}

/// Six numbers in two rows.
pub(crate) const LINEAR: Tensor<'static> = Tensor {
    name: "weight",
    storage: "FloatStorage",
    key: "0",
    elements: 6,
    offset: 0,
    shape: &[2, 3],
    strides: &[3, 1],
};

/// A pickle that is being written.
#[derive(Clone)]
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    pub(crate) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    pub(crate) fn raw(mut self, program: &[u8]) -> Self {
        self.0.extend(program);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn integer(self, value: i64) -> Self {
        self.raw(b"\x8a\x08").raw(&value.to_le_bytes())
    }

    /// A tensor's name and the tensor.
    pub(crate) fn tensor(self, tensor: &Tensor<'_>) -> Self {
        let sizes = |pickle: Self, sizes: &[i64]| {
            sizes.iter().fold(pickle.raw(b"("), |pickle, size| pickle.integer(*size)).raw(b"t")
        };
        let storage = self.text(tensor.name).global("torch._utils", "_rebuild_tensor_v2").raw(b"((");
        let storage = storage.text("storage").global("torch", tensor.storage).text(tensor.key).text("cpu");
        let view = storage.integer(tensor.elements).raw(b"tQ").integer(tensor.offset);
        sizes(sizes(view, tensor.shape), tensor.strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        self.clone().raw(b".").0
    }

    pub(crate) fn state_dict(tensor: &Tensor<'_>) -> Vec<u8> {
        Self::new(2).raw(b"}").tensor(tensor).raw(b"s").end()
    }
}

/// Changes the first record's own header and its entry in the directory.
type Change = fn(&mut [u8], &mut [u8]);

/// A ZIP archive of stored records that is being written; their sizes stand behind them, as PyTorch's do.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    records: Vec<(String, Vec<u8>)>,
    sizes_first: bool,
    zip64: bool,
    left_out: usize,
    change: Option<Change>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn record(mut self, name: &str, bytes: &[u8]) -> Self {
        self.records.push((name.to_owned(), bytes.to_vec()));
        self
    }

    /// The sizes stand before the records only.
    pub(crate) fn sizes_first(mut self) -> Self {
        self.sizes_first = true;
        self
    }

    /// All sizes have eight bytes.
    pub(crate) fn zip64(mut self) -> Self {
        self.zip64 = true;
        self
    }

    /// The directory lacks its last entries.
    pub(crate) fn without_entries(mut self, count: usize) -> Self {
        self.left_out = count;
        self
    }

    /// Changes the first record's head and its entry in the directory.
    pub(crate) fn change(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        let (mut file, mut entries) = (Vec::new(), Vec::new());
        let wide = |size: usize| (size as u64).to_le_bytes();
        let narrow = |size: usize| if self.zip64 { [0xff; 4] } else { (size as u32).to_le_bytes() };
        for (at, (name, bytes)) in self.records.iter().enumerate() {
            let (size, offset) = (bytes.len(), file.len());
            let flags: u16 = if self.sizes_first { 0 } else { 8 };
            let name_len = (name.len() as u16).to_le_bytes();
            // PyTorch's note that moves a record to a multiple of 64.
            let mut notes = b"FB\x04\0ZZZZ".to_vec();
            if self.sizes_first && self.zip64 {
                notes.extend([&[1, 0, 16, 0][..], &wide(size), &wide(size)].concat());
            }
            let sizes = if self.sizes_first { [narrow(size), narrow(size)].concat() } else { vec![0; 8] };
            let mut head =
                [b"PK\x03\x04\0\0", &flags.to_le_bytes()[..], &[0; 10], &sizes, &name_len].concat();
            head.extend([&(notes.len() as u16).to_le_bytes()[..], name.as_bytes(), &notes].concat());

            let notes = [&[1, 0, 24, 0][..], &wide(size), &wide(size), &wide(offset)].concat();
            let notes = if self.zip64 { notes } else { Vec::new() };
            let mut entry = [b"PK\x01\x02\0\0\0\0", &flags.to_le_bytes()[..], &[0; 10]].concat();
            entry.extend([narrow(size), narrow(size)].concat());
            entry.extend(
                [&name_len[..], &(notes.len() as u16).to_le_bytes(), &[0; 10], &narrow(offset)].concat(),
            );
            entry.extend([name.as_bytes(), &notes].concat());
            if let (0, Some(change)) = (at, self.change) {
                change(&mut head, &mut entry);
            }
            file.extend(head);
            file.extend(bytes);
            if !self.sizes_first {
                file.extend(b"PK\x07\x08\0\0\0\0");
                if self.zip64 {
                    file.extend([wide(size), wide(size)].concat());
                } else {
                    file.extend([narrow(size), narrow(size)].concat());
                }
            }
            entries.push(entry);
        }
        entries.truncate(entries.len() - self.left_out);
        file.extend(entries.concat());
        if self.zip64 {
            file.extend([b"PK\x06\x06", &wide(44)[..], &[0; 44]].concat());
            file.extend([&b"PK\x06\x07"[..], &[0; 16]].concat());
        }
        file.extend([&b"PK\x05\x06"[..], &[0; 18]].concat());
        file
    }
}
