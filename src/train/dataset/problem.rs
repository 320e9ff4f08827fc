//! Why a file is not read.

use std::io;

use crate::budget::Refused;

/// Why a file is not read, and whether others still are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The file is left out.
    Skip(String),
    /// The whole data set is refused.
    End(String),
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Skip(why)
    }
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Self::Skip(why.to_owned())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        if refused.is_total { Self::End(refused.to_string()) } else { Self::Skip(refused.to_string()) }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|e| e.downcast_ref::<Refused>()) {
            Some(refused) => refused.clone().into(),
            None => Self::Skip(error.to_string()),
        }
    }
}
