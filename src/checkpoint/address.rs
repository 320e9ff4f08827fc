//! What an address means: a checkpoint's folder on a server, of which people copy the address of a page or of a file.
//!
//! www/source.js has the same rules for the page, which needs them before the engine is there; both are held to
//! tests/fixtures/addresses.json.

const HUB: &str = "https://huggingface.co/";
/// Also the hub.
const HUB_HOSTS: [&str; 4] = [HUB, "http://huggingface.co/", "https://www.huggingface.co/", "https://hf.co/"];
/// First parts of the hub's own addresses, which are no organisation's.
const NO_ORGANISATION: [&str; 12] = [
    "api",
    "blog",
    "collections",
    "datasets",
    "docs",
    "join",
    "learn",
    "models",
    "organizations",
    "papers",
    "spaces",
    "tasks",
];

/// A checkpoint's folder on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Up to and with the last slash.
    pub folder: String,
    /// What follows a file's name: `?download=true` or a signature.
    pub query: String,
}

impl Address {
    /// The address of a model on the hub by its id, `org/name`; `None` where that is no id.
    #[must_use]
    pub fn of_hub_id(id: &str) -> Option<Self> {
        let (org, name) = id.split_once('/')?;
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        (part(org) && part(name))
            .then(|| Self { folder: format!("{HUB}{id}/resolve/main/"), query: String::new() })
    }

    /// Understands a web address; `None` where it is none.
    ///
    /// ```
    /// # use noiseball::checkpoint::address::Address;
    /// let address = Address::of_web("https://huggingface.co/google/ddpm-cat-256/tree/main").unwrap();
    /// assert_eq!(address.folder, "https://huggingface.co/google/ddpm-cat-256/resolve/main/");
    /// ```
    #[must_use]
    pub fn of_web(text: &str) -> Option<Self> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return None;
        }
        let text = text.split('#').next().unwrap_or(text);
        let (address, query) = text.find('?').map_or((text, ""), |at| text.split_at(at));
        if let Some(folder) = of_hub_page(address) {
            return Some(Self { folder: folder_of(&folder), query: String::new() });
        }
        Some(Self { folder: folder_of(address), query: query.to_owned() })
    }

    /// The address of a file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("{}{name}{}", self.folder, self.query)
    }
}

/// Where the hub keeps the files that one of its pages shows: the model's own, or a folder's or a file's in some revision.
fn of_hub_page(address: &str) -> Option<String> {
    let path = HUB_HOSTS.iter().find_map(|host| address.strip_prefix(host))?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let [org, name, rest @ ..] = &parts[..] else { return None };
    if NO_ORGANISATION.contains(org) {
        return None;
    }
    let (revision, below): (String, &[&str]) = match rest {
        [] => ("main".to_owned(), &[]),
        // The hub's own branches have slashes in their names, which it writes as they are.
        ["tree" | "blob", "refs", kind @ ("pr" | "convert"), number, below @ ..] => {
            (format!("refs%2F{kind}%2F{number}"), below)
        }
        ["tree" | "blob", revision, below @ ..] => ((*revision).to_owned(), below),
        _ => return None,
    };
    let below: String = below.iter().map(|part| format!("{part}/")).collect();
    Some(format!("{HUB}{org}/{name}/resolve/{revision}/{below}").trim_end_matches('/').to_owned())
}

/// The checkpoint's folder, where the address may be that of one of its files or of a folder in it.
fn folder_of(address: &str) -> String {
    let address = address.trim_end_matches('/');
    let (parent, last) = address.rsplit_once('/').unwrap_or((address, ""));
    let is_file = [".json", ".safetensors", ".bin"].iter().any(|end| last.ends_with(end));
    let folder = if is_file && !parent.ends_with('/') { parent } else { address };
    let folder = ["/unet", "/scheduler"].iter().find_map(|end| folder.strip_suffix(end)).unwrap_or(folder);
    format!("{folder}/")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn addresses_are_understood_as_the_page_does() {
        let cases: Value = serde_json::from_str(include_str!("../../tests/fixtures/addresses.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let address = Address::of_web(text).or_else(|| Address::of_hub_id(text)).unwrap();
            assert_eq!(address.file(""), case["folder"].as_str().unwrap(), "{text}");
        }
    }
}
