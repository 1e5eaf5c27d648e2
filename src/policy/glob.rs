//! Sets of names, some with `*`: `utm_*`. Plain names are found by hash, so a long list costs nothing.

use foldhash::HashSet;

/// Names and patterns, matched byte for byte; `*` stands for any characters, also none.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    plain: HashSet<Box<str>>,
    globs: Vec<Box<[u8]>>,
}

impl Names {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Names {
        let mut set = Names::default();
        for name in names {
            if name.contains('*') {
                set.globs.push(name.as_bytes().into());
            } else {
                set.plain.insert(name.as_str().into());
            }
        }
        set
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.plain.contains(name) || self.globs.iter().any(|glob| glob_matches(glob, name.as_bytes()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.globs.is_empty()
    }
}

/// Walks both at once; on a mismatch the last `*` takes one byte more. Time is at most the product of the lengths.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(n) {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, n));
                g += 1;
            }
            Some(&wanted) if wanted == byte => {
                g += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                g = after_star;
                n = taken + 1;
            }
        }
    }
    glob.iter().skip(g).all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (glob, name, expected) in [
            ("utm_*", "utm_source", true),
            ("utm_*", "utm_", true),
            ("utm_*", "utm", false),
            ("utm_*", "xutm_a", false),
            ("*id", "fbclid", true),
            ("*id", "ids", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("**", "x", true),
            ("page", "page", true),
            ("page", "Page", false),
        ] {
            assert_eq!(Names::new(&[glob.to_owned()]).contains(name), expected, "{glob} {name}");
        }
    }
}
